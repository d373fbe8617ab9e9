"""The base class of cleaning steps."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from highnoon.config import require_number
from highnoon.data.document import DataError, Document


class Changed(NamedTuple):
    """A changed document, and the reasons for the changes."""

    document: Document
    reasons: tuple[str, ...]


Verdict = Changed | str | None
"""None keeps a document as it is; a `str` drops it for that reason."""

Judge = Callable[[Document], Verdict]


class Step(abc.ABC):
    """One step of cleaning, applied to documents in their order.

    A subclass is a frozen dataclass whose fields are its options. It sets `reason`, and increases `version`
    when the same options give other verdicts. A step whose verdict depends only on the document is a
    `StatelessStep`.
    """

    reason: ClassVar[str]
    version: ClassVar[int] = 1

    @abc.abstractmethod
    def start(self) -> Judge:
        """Returns a function that judges the documents of one reading, in order."""

    @property
    def name(self) -> str:
        """The step's name in configurations and reports: `near_duplicates` for `NearDuplicates`."""
        return step_name(type(self))

    def options(self) -> dict[str, Any]:
        """Returns everything that determines the verdicts, as JSON values."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore


class StatelessStep(Step):
    """A step that judges each document independently, in any order and on any machine.

    Example:

    ```python
    import dataclasses
    from highnoon.data.cleaning import StatelessStep

    @dataclasses.dataclass(frozen=True)
    class Shouting(StatelessStep):
        reason = "all capitals"

        def judge(self, document):
            return self.reason if document.text.isupper() else None

    assert Shouting().judge(Document("STOP")) == "all capitals"
    ```
    """

    @abc.abstractmethod
    def judge(self, document: Document) -> Verdict:
        """Returns None to keep the document, the reason to drop it, or the changed document."""

    def start(self) -> Judge:
        return self.judge


def step_name(step: type[Step]) -> str:
    """Returns `near_duplicates` for `NearDuplicates`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", step.__name__).lower()


def require_fractions(values: Mapping[str, Any]) -> None:
    """Checks that options are fractions.

    Raises:
        DataError: If a value is not a number in [0, 1].
    """
    for name, value in values.items():
        require_number(name, value, least=0, most=1, error=DataError)
