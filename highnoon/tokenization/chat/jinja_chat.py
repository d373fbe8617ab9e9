"""Chat templates in Jinja; runs in the process of `jinja_worker`, whose time and memory are limited."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from highnoon.tokenization.chat.chat_template import ChatTemplateError, Message, has_words, is_supervised
from highnoon.tokenization.marked_text import MarkedText, Spans

# Private-use characters: around what is supervised, and within brackets of the words. A record that contains
# one is refused.
_OPEN, _CLOSE, _BREAK = "\U000f5a17", "\U000f5a18", "\U000f5a19"

_GENERATION = re.compile(r"\{%[-+]?\s*generation\b")
_PROMPT_NAME = "add_generation_prompt"
_PROBE = "Probe"

# What may be the name of a special token; the tokenizer decides whether it is one.
_MARK = re.compile(rf"<[^<>\s{_BREAK}]{{1,64}}>|\[[^\[\]\s{_BREAK}]{{1,64}}\]")
_OPENING, _CLOSING = re.compile(r"[<\[]"), re.compile(r"[>\]]")
_MOST_READ_NAMES = 16

_TEMPLATE_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class JinjaChat:
    """A chat template that finds the supervised spans and the marks of its text; see `ChatTemplate`.

    Args:
        template: The template.
        variables: More names for it.

    Raises:
        ChatTemplateError: the template is not Jinja.
    """

    def __init__(self, template: str, variables: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        # Nothing random: the same record gives the same text each time.
        del environment.filters["random"], environment.globals["lipsum"]
        environment.globals["raise_exception"] = _raise
        self._source = template
        self._marks_itself = _GENERATION.search(template) is not None
        self._has_prompt = _PROMPT_NAME in template
        self.tools: Sequence[Any] = ()
        self._variables = {"bos_token": "", "eos_token": "", **variables}
        try:
            self._template = environment.from_string(template)
        except TemplateSyntaxError as error:
            raise ChatTemplateError(
                f"`chat_template` is not a Jinja template: {error} (line {error.lineno})", "no Jinja"
            ) from None
        except RecursionError:
            raise ChatTemplateError(
                "`chat_template` is not a Jinja template that can be read: it is nested too "
                "deeply; write it flatter",
                "no Jinja",
            ) from None

    def render(self, messages: Sequence[Message]) -> MarkedText:
        """Returns the text of a conversation, its supervised spans and its marks."""
        _require_no_private_characters([*messages, *({"tools": tool} for tool in self.tools)])
        text, supervised = self._with_spans(messages)
        return MarkedText(text, supervised, self._marks(text, messages, is_prompt=False))

    def prompt(self, messages: Sequence[Message]) -> MarkedText:
        """Returns what precedes the next answer in a rendered conversation.

        If the supervised spans of that conversation cannot be found, it is the template's own prompt.
        """
        _require_no_private_characters(messages)
        answered = [*messages, {"role": "assistant", "content": _PROBE}]
        try:
            text, supervised, marks = self.render(answered)
        except ChatTemplateError as error:
            own = self._written(messages, is_prompt=True) if self._has_prompt else ""
            if not own or error.reason != _UNCLEAR:
                raise
            return MarkedText(own, (), self._marks(own, messages, is_prompt=True))
        if not supervised:
            raise _unclear("does not mark the assistant's last turn")
        start = supervised[-1][0]
        return MarkedText(text[:start], supervised[:-1], tuple(mark for mark in marks if mark[1] <= start))

    def _with_spans(self, messages: Sequence[Message]) -> tuple[str, Spans]:
        if not self._marks_itself:
            return self._found(messages)
        text, spans = _unmarked(self._written(messages))
        turns = [message for message in messages if message["role"] == "assistant"]
        if any(message.get("learn", True) is False for message in turns):
            if len(turns) != len(spans):
                raise _unclear("does not have one {% generation %} part for each turn of the assistant")
            spans = [span for span, message in zip(spans, turns, strict=True) if is_supervised(message)]
        return text, tuple(spans)

    def _found(self, messages: Sequence[Message]) -> tuple[str, Spans]:
        """Returns the text, and the assistant's spans in a template that does not mark them."""
        plain = self._written(messages)
        has_supervised_words = [is_supervised(message) and has_words(message) for message in messages]
        marked = [
            _with_marks(message) if is_marked else message
            for message, is_marked in zip(messages, has_supervised_words, strict=True)
        ]
        text, spans = _unmarked(self._written(marked))
        if text != plain or len(spans) != sum(has_supervised_words):
            raise _unclear("changes the assistant's words")
        words = iter(spans)
        supervised: list[tuple[int, int]] = []
        for number, message in enumerate(messages):
            if is_supervised(message):
                span = next(words) if has_supervised_words[number] else None
                least = supervised[-1][1] if supervised else 0
                supervised.append(self._turn(plain, messages, number, least, span))
        return plain, tuple(supervised)

    def _turn(
        self, text: str, messages: Sequence[Message], number: int, least: int, span: tuple[int, int] | None
    ) -> tuple[int, int]:
        """Returns where an answer begins and ends in the text.

        Args:
            text: The conversation.
            messages: Its turns.
            number: Which turn.
            least: The first position at which the answer may begin.
            span: The position of its words; None for tool calls.
        """
        until_here = text if number == len(messages) - 1 else self._written(messages[: number + 1])
        if not text.startswith(until_here) or len(until_here) < (span[1] if span else least):
            raise _unclear("writes a turn differently when others follow")
        start = self._prompt_end(text, messages[:number])
        if start is not None and least <= start <= (span[0] if span else len(until_here) - 1):
            return start, len(until_here)
        if span is None:
            raise _unclear("has no prompt after which tool calls begin")
        return span[0], len(until_here)

    def _prompt_end(self, text: str, messages: Sequence[Message]) -> int | None:
        """Returns where the template's own prompt for an answer ends in the text, None if it is not there."""
        if not self._has_prompt or not messages:
            return None
        prompt = self._written(messages, is_prompt=True)
        return len(prompt) if prompt != self._written(messages) and text.startswith(prompt) else None

    def _marks(self, text: str, messages: Sequence[Message], is_prompt: bool) -> Spans:
        """Returns the marks that the template wrote, none of which come from the words of a turn.

        The words are rendered once more with a private-use character in each of their brackets, so that
        what is still a mark is the template's. Names in the words that the template reads, such as
        `</think>`, stay intact, and are not marks anywhere in this conversation.
        """
        if not any(_OPENING.search(words) or _CLOSING.search(words) for words in _strings(messages)):
            return tuple(found.span() for found in _MARK.finditer(text))

        def broken(keep: Callable[[str], bool]) -> str:
            return self._written(_changed(messages, lambda words: _broken(words, keep)), is_prompt)

        names = {found for words in _strings(messages) for found in _MARK.findall(words)}
        read: set[str] = set()
        written = broken(lambda name: False)
        if written.replace(_BREAK, "") != text:
            own = sorted(name for name in names if name in self._source)[:_MOST_READ_NAMES]
            read = {name for name in own if broken(name.__ne__).replace(_BREAK, "") != text}
            written = broken(lambda name: name in read)
        if written.replace(_BREAK, "") != text:
            raise ChatTemplateError(
                "the chat template reads brackets in the words of a turn, so that its marks cannot be told "
                "from them; change the template or the record",
                _UNCLEAR,
            )
        marks, removed, position = [], 0, 0
        for found in _MARK.finditer(written):
            removed += written.count(_BREAK, position, found.start())
            position = found.start()
            if found.group() not in read:
                marks.append((found.start() - removed, found.end() - removed))
        return tuple(marks)

    def _written(self, messages: Sequence[Message], is_prompt: bool = False) -> str:
        try:
            names = {_PROMPT_NAME: is_prompt, **self._variables}
            if self.tools:
                names["tools"] = list(self.tools)
            return self._template.render(messages=list(messages), **names)
        except _TEMPLATE_FAULTS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ChatTemplateError(
                f"the chat template fails on this conversation: {reason}; change the template or the record"
            ) from error


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: the text between is supervised."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:
        return f"{_OPEN}{caller()}{_CLOSE}"


_UNCLEAR = "chat template unclear"


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As in `transformers`; Jinja's own filter escapes for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise TemplateError(message)


def _with_marks(message: Message) -> Message:
    """Returns the message with marks inside the white space around its words: trimming changes nothing."""
    words = message["content"]
    core = words.strip()
    before, _, after = words.partition(core)
    return {**message, "content": f"{before}{_OPEN}{core}{_CLOSE}{after}"}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _strings(key)
            yield from _strings(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _strings(part)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Returns the value with every string in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_changed(key, change): _changed(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_changed(part, change) for part in value]
    return value


def _broken(words: str, keep: Callable[[str], bool]) -> str:
    """Returns the words with a private-use character in each bracket, except in names that are kept."""
    pieces, position = [], 0
    for found in _MARK.finditer(words):
        if keep(found.group()):
            pieces += [_break_brackets(words[position : found.start()]), found.group()]
            position = found.end()
    return "".join([*pieces, _break_brackets(words[position:])])


def _break_brackets(words: str) -> str:
    return _CLOSING.sub(
        lambda found: _BREAK + found.group(), _OPENING.sub(lambda found: found.group() + _BREAK, words)
    )


def _require_no_private_characters(messages: Sequence[Message]) -> None:
    if any(mark in words for words in _strings(messages) for mark in (_OPEN, _CLOSE, _BREAK)):
        raise ChatTemplateError(
            "a turn contains U+F5A17, U+F5A18 or U+F5A19, which mark supervised text; remove them from the "
            "record",
            "private-use mark",
        )


def _unmarked(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """Returns the text without its marks, and the spans between them."""
    before, *rest = marked.split(_OPEN)
    pieces, spans = [before], []
    length = len(before)
    for part in rest:
        words, found, after = part.partition(_CLOSE)
        if not found or _CLOSE in after:
            raise _unclear("cuts or repeats the assistant's words")
        if words:
            spans.append((length, length + len(words)))
        pieces += [words, after]
        length += len(words) + len(after)
    return "".join(pieces), spans


def _unclear(what: str) -> ChatTemplateError:
    return ChatTemplateError(
        f"the chat template {what}, so that the supervised text cannot be found; put {{% generation %}} and "
        f"{{% endgeneration %}} around it in the template",
        _UNCLEAR,
    )
