"""Conversations of records as text."""

from __future__ import annotations

from collections.abc import Sequence

from highnoon.data.bad_records import BadRecordError
from highnoon.data.document import SupervisedText
from highnoon.data.records.chat_turns import Message
from highnoon.tokenization.chat.chat_template import DEFAULT_CHAT_TEMPLATE, ChatTemplate, ChatTemplateError

__all__ = ["DEFAULT_CHAT_TEMPLATE", "ChatTemplate", "ConversationText", "ConversationWriter"]


class ConversationText(SupervisedText):
    """The text of a conversation, what of it is supervised, and the marks that its template wrote.

    Args:
        text: The text.
        supervised: As of a `Document`.
        marks: As of a `Document`.
    """

    marks: tuple[tuple[int, int], ...]

    def __new__(
        cls, text: str, supervised: tuple[tuple[int, int], ...] | None, marks: tuple[tuple[int, int], ...]
    ) -> ConversationText:
        written = super().__new__(cls, text, supervised)
        written.marks = marks
        return written


class ConversationWriter:
    """Writes conversations of records by a chat template; what cannot be written is a bad record.

    Args:
        template: How conversations are written.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template

    def render(self, messages: Sequence[Message], location: str) -> ConversationText:
        """Returns the text of a conversation.

        Args:
            messages: Turns, each with `role` and `content`.
            location: Where they are, for errors.

        Raises:
            BadRecordError: the template cannot write them, or a model would learn nothing from them.
        """
        try:
            text, supervised, marks = self.template.render(messages)
        except ChatTemplateError as error:
            raise BadRecordError(f"{location}: {error}", error.reason, location) from None
        if not supervised:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            raise BadRecordError(
                f"{location}: nothing of this conversation would be supervised: expected a turn of the assistant "
                f"with words; received turns of {roles}; add an answer or leave the record out with skip_bad",
                "nothing to learn",
                location,
            )
        return ConversationText(text, supervised, marks)
