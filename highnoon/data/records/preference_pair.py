"""A prompt with a better and a worse answer."""

from __future__ import annotations

import dataclasses

from highnoon.data.document import Document


@dataclasses.dataclass(frozen=True)
class PreferencePair:
    """A prompt and two answers, as the chat template writes them.

    Args:
        prompt: The text before the answers, including the start of the assistant turn.
        chosen: The better answer, including the end of its turn.
        rejected: The worse answer, including the end of its turn.
        source: The file or dataset that it was read from.
        id: Its name or number within `source`.
        domain: As in `Document`.
        marks: As in `Document`, for the prompt with the better answer.
    """

    prompt: str
    chosen: str
    rejected: str
    source: str = ""
    id: str = ""
    domain: str = "default"
    marks: tuple[tuple[int, int], ...] = dataclasses.field(default=(), compare=False)

    def document(self) -> Document:
        """Returns the prompt with the better answer; the answer is supervised."""
        text = self.prompt + self.chosen
        return Document(text, self.source, self.id, self.domain, ((len(self.prompt), len(text)),), self.marks)
