"""Renders a record of any kind as text with supervised spans."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.data.bad_records import BadRecordError
from highnoon.data.document import SupervisedText
from highnoon.data.records.chat_turns import Message, chat_tools, chat_turns
from highnoon.data.records.conversation_text import ConversationText, ConversationWriter
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import (
    CHAT_FIELDS,
    INSTRUCTION_FIELDS,
    KNOWN_FIELDS,
    PREFERENCE_FIELDS,
    RESPONSE_FIELDS,
    TEXT_FIELDS,
    first_field,
    present_fields,
    record_kind,
)
from highnoon.data.records.record_template import RecordTemplate
from highnoon.data.records.record_values import (
    is_absent,
    plain_value,
    require_text,
    require_unicode,
    shown_names,
)

Values = Mapping[str, Any]

_NOTHING = SupervisedText("")

# Fields of a turn that are not content.
_NO_WORDS = frozenset({"role", "from", "name", "id", "weight"})


class RecordRenderer:
    """Renders records as text.

    - Text: the field itself; all of it is supervised.
    - Chat: the conversation, written by the chat template; the assistant turns are supervised.
    - Instruction: a conversation of two turns, or of the turns that its fields hold as lists. The user turn
      is the instruction and, after a blank line,
      `input` if present; the assistant turn is the response and is supervised.
    - Preference: a conversation of the prompt and the better answer; the answer is supervised.

    A field that is null, NaN, blank or an empty list is absent, and the kind follows from the other fields. A
    record whose fields are all absent gives `""`. A request without an answer, or an answer without a
    request, is a bad record.

    Args:
        options: Fields, template, kind and chat template.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self._chat = ConversationWriter(options.chat())
        self._template = None
        if options.template is not None:
            self._template = RecordTemplate(options.template, options.learned_fields)
        self._finds_text = options.kind in (None, "text") and not (options.text_field or options.template)
        self._writers = {
            "chat": self._conversation,
            "instruction": self._instruction,
            "preference": self._preference,
        }

    def render(self, values: Values, location: str) -> SupervisedText:
        """Returns the text of a record.

        Raises:
            BadRecordError: If the record is of no known kind, lacks a field, or has values that cannot be
                used.
        """
        text = values.get("text")
        if self._finds_text and isinstance(text, str) and text and not text.isspace():
            return SupervisedText(require_unicode(text, "`text`", location))
        if self._template is not None:
            return self._template.render(values, location)
        if self.options.text_field:
            return self._text(values, self.options.text_field, location)
        present = present_fields(values)
        kind = self.options.kind or record_kind(present)
        if kind is None:
            return self._of_no_kind(values, present, location)
        if kind == "text":
            field = first_field(present, TEXT_FIELDS) or self._require(values, TEXT_FIELDS, location)
            return self._text(values, field, location)
        return self._writers[kind](values, present, location)

    def pair(self, values: Values, location: str) -> tuple[str, str, str]:
        """Returns the prompt, better answer and worse answer of a record, as the chat template writes them.

        Raises:
            BadRecordError: If the record is not a preference, or its conversations differ before the answer.
        """
        chosen, rejected = self.pair_of_texts(values, location)
        start = _answer_start(chosen)
        return chosen.text[:start], chosen.text[start:], rejected.text[start:]

    def pair_of_texts(self, values: Values, location: str) -> tuple[ConversationText, ConversationText]:
        """Returns the conversations with the better and with the worse answer; the answers are supervised.

        The prompt is all turns that the two conversations share, whether or not the record has a `prompt`.
        An answer is the rest: one turn, or several of which those of the assistant are supervised.

        Raises:
            BadRecordError: As for `pair`.
        """
        texts = [self._chat.render(turns, location) for turns in self.pair_of_turns(values, location)]
        num_shared = len(os.path.commonprefix([text.text for text in texts]))
        chosen, rejected = (_from_answer_on(text, num_shared) for text in texts)
        if chosen.text[: _answer_start(chosen)] != rejected.text[: _answer_start(rejected)]:
            raise BadRecordError(
                f"{location}: `chosen` and `rejected` must answer the same prompt; the text before the "
                f"answers differs",
                "two prompts",
                location,
            )
        return chosen, rejected

    def pair_of_turns(self, values: Values, location: str) -> tuple[Sequence[Message], Sequence[Message]]:
        """Returns the turns of the conversations with the better and with the worse answer.

        Raises:
            BadRecordError: an answer is missing, or a conversation does not end with one.
        """
        conversations = []
        for field in PREFERENCE_FIELDS:
            turns = self._answered(values, field, location)
            if turns[-1]["role"] != "assistant":
                raise BadRecordError(
                    f"{location}: `{field}` must end with an assistant turn; received a "
                    f"{turns[-1]['role']} turn",
                    "no answer",
                    location,
                )
            conversations.append(turns)
        return conversations[0], conversations[1]

    def labeled_answer(self, values: Values, location: str) -> tuple[list[Message], list[Message]]:
        """Returns the turns of the prompt and of the answer of a record with one answer.

        Prompt and answer are texts, or lists of turns.

        Raises:
            BadRecordError: a field is missing, empty, or no text or conversation.
        """
        present = present_fields(values)
        turns = []
        for names, role in ((INSTRUCTION_FIELDS, "user"), (RESPONSE_FIELDS, "assistant")):
            self._require(values, names, location)
            field = first_field(present, names)
            if field is None:
                raise _incomplete(values, present, location)
            value = plain_value(values[field], location)
            turns.append(
                [{"role": role, "content": require_text(value, field, location)}]
                if isinstance(value, str)
                else chat_turns(value, field, location)
            )
        return turns[0], turns[1]

    def conversation(self, turns: Sequence[Message], num_prompt: int, location: str) -> ConversationText:
        """Returns a conversation in which only the assistant turns after the first `num_prompt` turns are
        supervised.

        Raises:
            BadRecordError: The template cannot write it, or nothing after the prompt is supervised.
        """
        prompt = [
            {**turn, "learn": False} if turn["role"] == "assistant" else turn for turn in turns[:num_prompt]
        ]
        text = self._chat.render([*prompt, *turns[num_prompt:]], location)
        return _from_answer_on(text, _answer_start(text))

    def _text(self, values: Values, field: str, location: str) -> SupervisedText:
        if field not in values:
            raise BadRecordError(
                f"{location}: no field `{field}`; {_fields(values)}", "missing field", location
            )
        value = values[field]
        return _NOTHING if is_absent(value) else SupervisedText(require_text(value, field, location))

    def _of_no_kind(self, values: Values, present: Sequence[str], location: str) -> SupervisedText:
        """Returns an empty text if the known fields of a record are all absent; raises otherwise."""
        if record_kind(values) is None:
            raise BadRecordError(
                f"{location}: expected a record with `text`, `messages`, an instruction and its "
                f"response or `chosen` and `rejected`; {_fields(values)}; name the field with "
                f"`text_field` (--text-field) or several with `template` (--template)",
                "no known field",
                location,
            )
        if present:
            raise _incomplete(values, present, location)
        return _NOTHING

    def _conversation(self, values: Values, present: Sequence[str], location: str) -> SupervisedText:
        field = first_field(present, CHAT_FIELDS)
        if field is None:
            self._require(values, CHAT_FIELDS, location)
            return _NOTHING
        turns = chat_turns(values[field], field, location)
        answers = [turn for turn in turns if turn["role"] == "assistant"]
        if answers and all(map(_says_nothing, answers)):
            raise BadRecordError(
                f"{location}: every assistant turn in `{field}` is null or empty; fill in the answers",
                "no answer",
                location,
            )
        return self._chat.render(turns, location, chat_tools(values.get("tools"), location))

    def _instruction(self, values: Values, present: Sequence[str], location: str) -> SupervisedText:
        for names in (INSTRUCTION_FIELDS, RESPONSE_FIELDS):
            self._require(values, names, location)
        request, reply = first_field(present, INSTRUCTION_FIELDS), first_field(present, RESPONSE_FIELDS)
        if request is None and reply is None:
            return _NOTHING
        if request is None or reply is None:
            raise _incomplete(values, present, location)
        given = [values[field] for field in (request, reply) if not is_absent(values[field])]
        if any(isinstance(plain_value(value, location), list) for value in given):
            prompt, answer = self.labeled_answer(values, location)
            return self.conversation([*prompt, *answer], len(prompt), location)
        words = [
            require_text(values[field], field, location)
            for field in (request, "input")
            if not is_absent(values.get(field))
        ]
        return self._chat.render(
            _exchange("\n\n".join(words), require_text(values[reply], reply, location)), location
        )

    def _preference(self, values: Values, present: Sequence[str], location: str) -> SupervisedText:
        if not {"prompt", *PREFERENCE_FIELDS} & set(present):
            self._require(values, PREFERENCE_FIELDS, location)
            return _NOTHING
        return self.pair_of_texts(values, location)[0]

    def _answered(self, values: Values, field: str, location: str) -> Sequence[Message]:
        """Returns the conversation that ends with the answer in `field`."""
        answer = values[self._require(values, (field,), location)]
        if is_absent(answer):
            raise BadRecordError(
                f"{location}: `{field}` is null or empty; fill in a better and a worse answer",
                "no answer",
                location,
            )
        answer = plain_value(answer, location)
        prompt = values.get("prompt")
        prompt = None if is_absent(prompt) else plain_value(prompt, location)
        if isinstance(answer, str):
            return [*_asked(prompt, location), {"role": "assistant", "content": answer}]
        turns = chat_turns(answer, field, location)
        if prompt is None or (isinstance(prompt, str) and turns[0]["role"] != "assistant"):
            return turns
        return [*_asked(prompt, location), *turns]

    def _require(self, values: Values, names: Sequence[str], location: str) -> str:
        field = first_field(values, names)
        if field is None:
            raise BadRecordError(
                f"{location}: expected a field {' or '.join(f'`{name}`' for name in names)}; "
                f"{_fields(values)}",
                "missing field",
                location,
            )
        return field


def _exchange(asked: str, answered: str) -> list[Message]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _answer_start(text: SupervisedText) -> int:
    """Returns the index at which the first supervised answer begins."""
    return (text.supervised or ((0, 0),))[0][0]


def _from_answer_on(text: ConversationText, num_shared: int) -> ConversationText:
    """Returns a conversation whose answers end after the first `num_shared` characters alone supervised.

    The last answer is supervised up to the end of the text, with what the template writes behind it.
    """
    spans = text.supervised or ()
    kept = [span for span in spans if span[1] > num_shared] or list(spans[-1:])
    kept[-1] = (kept[-1][0], len(text.text))
    return ConversationText(text.text, tuple(kept), text.marks)


def _asked(prompt: Any, location: str) -> list[Message]:
    """Returns the turns before an answer."""
    if isinstance(prompt, list):
        return chat_turns(prompt, "prompt", location)
    if prompt is None:
        raise BadRecordError(
            f"{location}: expected a string `prompt` that `chosen` and `rejected` answer; received none; "
            f"add it, or use conversations that include it",
            "missing field",
            location,
        )
    return [{"role": "user", "content": require_text(prompt, "prompt", location)}]


def _says_nothing(turn: Message) -> bool:
    """Returns whether a turn has no content, such as text or tool calls, that a template could write."""
    return all(is_absent(value) for name, value in turn.items() if name not in _NO_WORDS)


def _incomplete(values: Values, present: Sequence[str], location: str) -> BadRecordError:
    """Returns the error for a record that has one part but not its counterpart."""
    absent = shown_names(f"`{name}`" for name in KNOWN_FIELDS if name in values and name not in present)
    is_unanswered = first_field(present, INSTRUCTION_FIELDS) and not first_field(present, RESPONSE_FIELDS)
    return BadRecordError(
        f"{location}: {shown_names(f'`{name}`' for name in present)} needs its counterpart, and "
        f"{absent or 'it'} is null or empty; fill it in",
        "no answer" if is_unanswered else "missing field",
        location,
    )


def _fields(values: Values) -> str:
    return f"the fields are {shown_names(values)}"
