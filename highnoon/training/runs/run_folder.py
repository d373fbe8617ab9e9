"""The folder of a run's logs: named by when the run began and what it is called."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import re
import unicodedata
import uuid
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, require_text, shown

MAX_NAME = 200
_MAX_SLUG_BYTES = 150
_UNSAFE = re.compile(r"[^\w.+=,@-]+")
_FOLDER = re.compile(r"[\w+=,@-][\w.+=,@-]*")


@dataclasses.dataclass(frozen=True)
class RunLabel:
    """What tells a run from others.

    Args:
        run_id: Its id.
        run_name: What the user calls it; None for nothing.
        run_folder: The name of its folder of logs; None for a run of an older version, whose folder is named
            by its id.
    """

    run_id: str
    run_name: str | None = None
    run_folder: str | None = None

    @classmethod
    def new(
        cls, run_name: str | None = None, log_dir: pathlib.Path | None = None, run_id: str | None = None
    ) -> RunLabel:
        """Returns the label of a new run, whose folder is made in `log_dir`; None makes none."""
        run_id = uuid.uuid4().hex[:8] if run_id is None else run_id
        return cls(run_id, run_name, make_run_folder(log_dir, run_name, run_id))

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> RunLabel:
        """Returns the label in the state of a checkpoint."""
        return cls(state["run_id"], state.get("run_name"), state.get("run_folder"))


def require_run_name(name: str, value: Any) -> str:
    """Returns `value`, after checking that a run can have this name.

    Raises:
        ConfigError: it is no text, has more than 200 characters, or not one letter or digit.
    """
    text = require_text(name, value)
    if len(text) > MAX_NAME or not any(character.isalnum() for character in text):
        raise ConfigError(
            f"`{name}` must have at most {MAX_NAME} characters, and at least one letter or digit; received "
            f"{shown(value)}"
        )
    return text


def require_same_name(run_name: str | None, saved_name: str | None, folder: pathlib.Path) -> None:
    """Checks that a resumed run is given its own name, or none.

    Raises:
        ConfigError: it is given another one.
    """
    if run_name is not None and run_name != saved_name:
        named = "has no name" if saved_name is None else f"is named {shown(saved_name)}"
        raise ConfigError(
            f"the run in {folder} {named}, and a resumed run keeps that; received run_name="
            f"{shown(run_name)}: leave `run_name` out, or start a new run without `resume_from` (--resume)"
        )


def make_run_folder(
    log_dir: pathlib.Path | None,
    run_name: str | None,
    run_id: str,
    began: datetime.datetime | None = None,
) -> str:
    """Returns the name of a new run's folder, such as `2026-11-27_121758_baseline`.

    Folders sort by time. A name that is taken already gets the run's id too.

    Args:
        log_dir: Where the folder is made by this process; None makes none.
        run_name: What the user calls the run; None takes the run's id.
        run_id: The run's id.
        began: When the run began; None is now, in local time.
    """
    began = datetime.datetime.now() if began is None else began
    folder = f"{began:%Y-%m-%d_%H%M%S}_{run_id if run_name is None else _slug(run_name)}"
    if log_dir is None:
        return folder
    log_dir.mkdir(parents=True, exist_ok=True)
    try:
        (log_dir / folder).mkdir()
    except FileExistsError:
        folder = f"{folder}_{run_id}"
        (log_dir / folder).mkdir(exist_ok=True)
    return folder


def is_run_folder(value: Any) -> bool:
    """Whether a value is the name of a run's folder, and not a path."""
    return isinstance(value, str) and len(value) <= 2 * MAX_NAME and _FOLDER.fullmatch(value) is not None


def _slug(name: str) -> str:
    """Returns a name as part of a file name: letters, digits and `.+=,@_-` of at most 150 bytes."""
    safe = _UNSAFE.sub("-", unicodedata.normalize("NFC", name))
    return safe.encode("utf-8")[:_MAX_SLUG_BYTES].decode("utf-8", "ignore").strip("-.")
