"""From a row of named fields to a text and what of it is learnt: the one path for every kind of source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.data.document import LearnedText
from highnoon.data.records.bad_records import BadRowError
from highnoon.data.records.chat_turns import Message, chat_turns
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
    row_kind,
)
from highnoon.data.records.record_template import RowTemplate
from highnoon.data.records.record_values import (
    is_absent,
    plain_value,
    require_text,
    require_unicode,
    shown_names,
)

Values = Mapping[str, Any]

_NOTHING = LearnedText("")

# What a turn has besides its words without saying anything.
_NO_WORDS = frozenset({"role", "from", "name", "id", "weight"})


class RowRenderer:
    """Writes rows as text.

    - Text: the field itself, all of it learnt.
    - Chat: the conversation as the chat template writes it, the assistant's words learnt.
    - Instruction: a conversation of two turns. The user says the instruction and, after a blank line,
      `input` where there is one; the assistant's response is learnt.
    - Preference: a conversation of the prompt and the better answer, the answer learnt.

    A field that is null, NaN, blank or an empty list is absent: the row is what its other fields say. A row
    whose fields are all absent gives `""`; a request without an answer, or an answer without a request, is a
    bad row.

    Args:
        options: Fields, template, kind and chat template.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self._chat = ConversationWriter(options.chat())
        self._template = None
        if options.template is not None:
            self._template = RowTemplate(options.template, options.learned_fields)
        self._finds_text = options.kind in (None, "text") and not (options.text_field or options.template)
        self._writers = {
            "chat": self._conversation,
            "instruction": self._instruction,
            "preference": self._preference,
        }

    def render(self, values: Values, place: str) -> LearnedText:
        """Returns the text of a row.

        Raises:
            BadRowError: the row is of no kind, lacks a field, or its values cannot be used.
        """
        text = values.get("text")
        if self._finds_text and isinstance(text, str) and text and not text.isspace():
            return LearnedText(require_unicode(text, "`text`", place))
        if self._template is not None:
            return self._template.render(values, place)
        if self.options.text_field:
            return self._text(values, self.options.text_field, place)
        present = present_fields(values)
        kind = self.options.kind or row_kind(present)
        if kind is None:
            return self._of_no_kind(values, present, place)
        if kind == "text":
            field = first_field(present, TEXT_FIELDS) or self._require(values, TEXT_FIELDS, place)
            return self._text(values, field, place)
        return self._writers[kind](values, present, place)

    def pair(self, values: Values, place: str) -> tuple[str, str, str]:
        """Returns prompt, better and worse answer of a preference row, as the chat template writes them.

        Raises:
            BadRowError: the row is no preference, or its two conversations differ before the answer.
        """
        chosen, rejected = self.pair_of_texts(values, place)
        start = _answer_start(chosen)
        return chosen.text[:start], chosen.text[start:], rejected.text[_answer_start(rejected) :]

    def pair_of_texts(self, values: Values, place: str) -> tuple[ConversationText, ConversationText]:
        """Returns the conversations with the better and the worse answer, of which the answers are learned.

        Raises:
            BadRowError: as `pair`.
        """
        texts = []
        for field in PREFERENCE_FIELDS:
            turns = self._answered(values, field, place)
            if turns[-1]["role"] != "assistant":
                raise BadRowError(
                    f"{place}: `{field}` must end with an answer of the assistant; received a "
                    f"turn of {turns[-1]['role']}",
                    "no answer",
                    place,
                )
            text = self._chat.render(turns, place)
            texts.append(ConversationText(text.text, ((_answer_start(text), len(text.text)),), text.marks))
        chosen, rejected = texts
        if chosen.text[: _answer_start(chosen)] != rejected.text[: _answer_start(rejected)]:
            raise BadRowError(
                f"{place}: `chosen` and `rejected` must answer one prompt; what stands before "
                f"the answers differs",
                "two prompts",
                place,
            )
        return chosen, rejected

    def _text(self, values: Values, field: str, place: str) -> LearnedText:
        if field not in values:
            raise BadRowError(f"{place}: no field `{field}`; {_fields(values)}", "missing field", place)
        value = values[field]
        return _NOTHING if is_absent(value) else LearnedText(require_text(value, field, place))

    def _of_no_kind(self, values: Values, present: Sequence[str], place: str) -> LearnedText:
        """Nothing, where the known fields of a row are all absent."""
        if row_kind(values) is None:
            raise BadRowError(
                f"{place}: expected a row with `text`, `messages`, an instruction and its "
                f"response or `chosen` and `rejected`; {_fields(values)}; name the field with "
                f"`text_field` or several with `template`",
                "no known field",
                place,
            )
        if present:
            raise _incomplete(values, present, place)
        return _NOTHING

    def _conversation(self, values: Values, present: Sequence[str], place: str) -> LearnedText:
        field = first_field(present, CHAT_FIELDS)
        if field is None:
            self._require(values, CHAT_FIELDS, place)
            return _NOTHING
        turns = chat_turns(values[field], field, place)
        answers = [turn for turn in turns if turn["role"] == "assistant"]
        if answers and all(map(_says_nothing, answers)):
            raise BadRowError(
                f"{place}: every turn of the assistant in `{field}` is null or empty; fill in the "
                f"answers, or leave the row out with skip_bad",
                "no answer",
                place,
            )
        return self._chat.render(turns, place)

    def _instruction(self, values: Values, present: Sequence[str], place: str) -> LearnedText:
        for names in (INSTRUCTION_FIELDS, RESPONSE_FIELDS):
            self._require(values, names, place)
        request, reply = first_field(present, INSTRUCTION_FIELDS), first_field(present, RESPONSE_FIELDS)
        if request is None and reply is None:
            return _NOTHING
        if request is None or reply is None:
            raise _incomplete(values, present, place)
        words = [
            require_text(values[field], field, place)
            for field in (request, "input")
            if not is_absent(values.get(field))
        ]
        return self._chat.render(
            _exchange("\n\n".join(words), require_text(values[reply], reply, place)), place
        )

    def _preference(self, values: Values, present: Sequence[str], place: str) -> LearnedText:
        if not {"prompt", *PREFERENCE_FIELDS} & set(present):
            self._require(values, PREFERENCE_FIELDS, place)
            return _NOTHING
        return self.pair_of_texts(values, place)[0]

    def _answered(self, values: Values, field: str, place: str) -> Sequence[Message]:
        """The conversation that ends with the answer in `field`."""
        answer = values[self._require(values, (field,), place)]
        if is_absent(answer):
            raise BadRowError(
                f"{place}: `{field}` is null or empty; give a better and a worse answer, or leave "
                f"the row out with skip_bad",
                "no answer",
                place,
            )
        answer = plain_value(answer, place)
        prompt = values.get("prompt")
        prompt = None if is_absent(prompt) else plain_value(prompt, place)
        if isinstance(answer, str):
            return [*_asked(prompt, place), {"role": "assistant", "content": answer}]
        turns = chat_turns(answer, field, place)
        if prompt is None or (isinstance(prompt, str) and turns[0]["role"] != "assistant"):
            return turns
        return [*_asked(prompt, place), *turns]

    def _require(self, values: Values, names: Sequence[str], place: str) -> str:
        field = first_field(values, names)
        if field is None:
            raise BadRowError(
                f"{place}: expected a field {' or '.join(f'`{name}`' for name in names)}; {_fields(values)}",
                "missing field",
                place,
            )
        return field


def _exchange(asked: str, answered: str) -> list[Message]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _answer_start(text: LearnedText) -> int:
    """Where the last answer begins in a conversation that has one."""
    return (text.learned or ((0, 0),))[-1][0]


def _asked(prompt: Any, place: str) -> list[Message]:
    """The turns before an answer, of which the last asks for it."""
    if isinstance(prompt, list):
        return chat_turns(prompt, "prompt", place)
    if prompt is None:
        raise BadRowError(
            f"{place}: expected a string `prompt` that `chosen` and `rejected` answer; received none; give "
            f"one, or conversations that hold it",
            "missing field",
            place,
        )
    return [{"role": "user", "content": require_text(prompt, "prompt", place)}]


def _says_nothing(turn: Message) -> bool:
    """Whether a turn has no words, and nothing else, such as tool calls, that a template could write."""
    return all(is_absent(value) for name, value in turn.items() if name not in _NO_WORDS)


def _incomplete(values: Values, present: Sequence[str], place: str) -> BadRowError:
    """The error of a row of which one part is there and its counterpart is null or empty."""
    absent = shown_names(f"`{name}`" for name in KNOWN_FIELDS if name in values and name not in present)
    is_unanswered = first_field(present, INSTRUCTION_FIELDS) and not first_field(present, RESPONSE_FIELDS)
    return BadRowError(
        f"{place}: {shown_names(f'`{name}`' for name in present)} needs its counterpart, and "
        f"{absent or 'it'} is null or empty; fill it in, or leave the row out with skip_bad",
        "no answer" if is_unanswered else "missing field",
        place,
    )


def _fields(values: Values) -> str:
    return f"the fields are {shown_names(values)}"
