"""The text of a conversation, written by a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highnoon.data.bad_records import BadRecordError
from highnoon.data.document import SupervisedText
from highnoon.data.records.chat_turns import Message
from highnoon.tokenization.chat.chat_template import DEFAULT_CHAT_TEMPLATE, ChatTemplate, ChatTemplateError

__all__ = ["DEFAULT_CHAT_TEMPLATE", "ChatTemplate", "ConversationText", "ConversationWriter"]


class ConversationText(SupervisedText):
    """The text of a conversation, with its supervised spans and marks.

    Args:
        text: The text.
        supervised: As in `Document`.
        marks: As in `Document`.
    """

    marks: tuple[tuple[int, int], ...]

    def __new__(
        cls, text: str, supervised: tuple[tuple[int, int], ...] | None, marks: tuple[tuple[int, int], ...]
    ) -> ConversationText:
        written = super().__new__(cls, text, supervised)
        written.marks = marks
        return written


class ConversationWriter:
    """Writes conversations with a chat template; a conversation that cannot be written is a bad record.

    Args:
        template: The chat template.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template

    def render(
        self, messages: Sequence[Message], location: str, tools: Sequence[Any] | None = None
    ) -> ConversationText:
        """Returns the text of a conversation.

        Args:
            messages: Turns, each with `role` and `content`.
            location: The location of the record, for errors.
            tools: The tools that may be called, see `ChatTemplate.render`.

        Raises:
            BadRecordError: If the template cannot write the turns, or none of them is supervised.
        """
        try:
            text, supervised, marks = self.template.render(messages, tools)
        except ChatTemplateError as error:
            raise BadRecordError(f"{location}: {error}", error.reason, location) from None
        if not supervised:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            raise BadRecordError(
                f"{location}: nothing in this conversation would be supervised: expected an assistant turn "
                f"with text; received turns of {roles}; add an answer",
                "nothing supervised",
                location,
            )
        return ConversationText(text, supervised, marks)
