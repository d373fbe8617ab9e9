"""Creates cleaning steps from plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from highnoon.config import resolve_keys, shown
from highnoon.data.cleaning.alphabet_share import AlphabetShare
from highnoon.data.cleaning.exact_duplicates import ExactDuplicates
from highnoon.data.cleaning.language import Language
from highnoon.data.cleaning.length import Length
from highnoon.data.cleaning.letter_share import LetterShare
from highnoon.data.cleaning.near_duplicates import NearDuplicates
from highnoon.data.cleaning.not_in import NotIn
from highnoon.data.cleaning.personal_data import PersonalData
from highnoon.data.cleaning.repetition import Repetition
from highnoon.data.cleaning.step import Step, step_name
from highnoon.data.document import DataError
from highnoon.files.nearest_name import suggestion

STEPS: dict[str, type[Step]] = {
    step_name(step): step
    for step in (
        Length,
        LetterShare,
        AlphabetShare,
        Language,
        Repetition,
        PersonalData,
        ExactDuplicates,
        NearDuplicates,
        NotIn,
    )
}


def from_config(entries: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Returns the steps that a list of mappings, from YAML or JSON, describes.

    Args:
        entries: For each step, a mapping of `step`, its name, and its options.

    Raises:
        DataError: If `entries` is not a list, an entry is not a mapping, lacks `step` or names an unknown
            step, lacks a required option, or an option is out of range.
        ConfigError: If an option is unknown.

    Example:

    ```python
    steps = from_config([{"step": "length", "min_words": 20}, {"step": "exact_duplicates"}])
    assert [step.name for step in steps] == ["length", "exact_duplicates"]
    ```
    """
    if isinstance(entries, (str, Mapping)) or not isinstance(entries, Iterable):
        raise DataError(
            f"cleaning steps must be a list of mappings, each with `step` and its options; "
            f"received {shown(entries)}"
        )
    return [_step(entry, f"cleaning step {number}") for number, entry in enumerate(entries, start=1)]


def _step(entry: Any, owner: str) -> Step:
    if not isinstance(entry, Mapping) or "step" not in entry:
        raise DataError(
            f"{owner} must be a mapping with `step` and the step's options; received {shown(entry)}"
        )
    name = entry["step"]
    if not isinstance(name, str) or name not in STEPS:
        raise DataError(f"{owner}: no step is called {shown(name)}; {suggestion(name, STEPS)}")
    fields = {field.name: field for field in dataclasses.fields(STEPS[name])}  # type: ignore[arg-type]
    given = {key: value for key, value in entry.items() if key != "step"}
    options = resolve_keys(given, set(fields), f"{owner} ({name})")
    missing = [
        key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in options
    ]
    if missing:
        raise DataError(f"{owner} ({name}) needs {', '.join(f'`{key}`' for key in missing)}")
    try:
        return STEPS[name](**options)
    except DataError as error:
        raise type(error)(f"{owner} ({name}): {error}") from error
