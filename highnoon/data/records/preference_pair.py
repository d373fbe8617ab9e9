"""A prompt with a better and a worse answer."""

from __future__ import annotations

import dataclasses

from highnoon.data.document import Document


@dataclasses.dataclass(frozen=True)
class PreferencePair:
    """A prompt and two ways to go on, written as a model reads them.

    Args:
        prompt: Everything before the answers, the head of the assistant's turn included.
        chosen: The better answer, what ends its turn included.
        rejected: The worse answer, likewise.
        source: The file or collection that it was read from.
        id: Its name or number within `source`.
        domain: As of a `Document`.
        marks: As of a `Document`, of the prompt with the better answer.
    """

    prompt: str
    chosen: str
    rejected: str
    source: str = ""
    id: str = ""
    domain: str = "default"
    marks: tuple[tuple[int, int], ...] = dataclasses.field(default=(), compare=False)

    def document(self) -> Document:
        """Returns the prompt with the better answer, of which the answer is supervised."""
        text = self.prompt + self.chosen
        return Document(text, self.source, self.id, self.domain, ((len(self.prompt), len(text)),), self.marks)
