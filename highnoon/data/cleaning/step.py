"""What a cleaning step is: a judge of documents that says why it drops one."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from highnoon.config import require_number
from highnoon.data.document import DataError, Document


class Changed(NamedTuple):
    """A document that goes on in another form, and what was changed in it."""

    document: Document
    reasons: tuple[str, ...]


Verdict = Changed | str | None
"""None keeps a document as it is, a `str` drops it for that reason."""

Judge = Callable[[Document], Verdict]


class Step(abc.ABC):
    """One rule that documents pass in their order.

    A subclass is a frozen dataclass, whose fields are its options. It sets `reason`, and counts `version` up
    when the same options come to judge otherwise. One whose verdict depends on the document alone is a
    `StatelessStep`.
    """

    reason: ClassVar[str]
    version: ClassVar[int] = 1

    @abc.abstractmethod
    def start(self) -> Judge:
        """Returns a function that judges the documents of one reading, one after another."""

    @property
    def name(self) -> str:
        """The step's name in configurations and reports: `near_duplicates` of `NearDuplicates`."""
        return step_name(type(self))

    def options(self) -> dict[str, Any]:
        """Returns all that decides the verdicts, in a form that JSON can hold."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore


class StatelessStep(Step):
    """A step that judges each document by itself, in any order and on any machine.

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
        """Returns None to keep the document, why it is dropped, or what it is changed into."""

    def start(self) -> Judge:
        return self.judge


def step_name(step: type[Step]) -> str:
    """Returns `near_duplicates` of `NearDuplicates`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", step.__name__).lower()


def require_shares(values: Mapping[str, Any]) -> None:
    """Checks that options are fractions.

    Raises:
        DataError: a value is no number in [0, 1].
    """
    for name, value in values.items():
        require_number(name, value, least=0, most=1, error=DataError)
