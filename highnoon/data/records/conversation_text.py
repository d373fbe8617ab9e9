"""Conversations of rows as text."""

from __future__ import annotations

from collections.abc import Sequence

from highnoon.data.document import LearnedText
from highnoon.data.records.bad_records import BadRowError
from highnoon.data.records.chat_turns import Message
from highnoon.tokenization.chat.chat_template import DEFAULT_CHAT_TEMPLATE, ChatTemplate, ChatTemplateError

__all__ = ["DEFAULT_CHAT_TEMPLATE", "ChatTemplate", "ConversationText", "ConversationWriter"]


class ConversationText(LearnedText):
    """The text of a conversation, what of it is learned, and the marks that its template wrote.

    Args:
        text: The text.
        learned: As of a `Document`.
        marks: As of a `Document`.
    """

    marks: tuple[tuple[int, int], ...]

    def __new__(
        cls, text: str, learned: tuple[tuple[int, int], ...] | None, marks: tuple[tuple[int, int], ...]
    ) -> ConversationText:
        written = super().__new__(cls, text, learned)
        written.marks = marks
        return written


class ConversationWriter:
    """Writes conversations of rows by a chat template; what cannot be written is a bad row.

    Args:
        template: How conversations are written.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template

    def render(self, messages: Sequence[Message], place: str) -> ConversationText:
        """Returns the text of a conversation.

        Args:
            messages: Turns, each with `role` and `content`.
            place: Where they are, for errors.

        Raises:
            BadRowError: the template cannot write them, or a model would learn nothing from them.
        """
        try:
            text, learned, marks = self.template.render(messages)
        except ChatTemplateError as error:
            raise BadRowError(f"{place}: {error}", error.reason, place) from None
        if not learned:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            raise BadRowError(
                f"{place}: nothing of this conversation would be learned: expected a turn of the assistant "
                f"with words; received turns of {roles}; add an answer or leave the row out with skip_bad",
                "nothing to learn",
                place,
            )
        return ConversationText(text, learned, marks)
