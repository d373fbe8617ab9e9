"""Chat templates in Jinja; imported only where one is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from highnoon.data.bad_rows import BadRowError
from highnoon.data.chat_turns import Message
from highnoon.data.document import DataError, LearnedText
from highnoon.data.row_values import require_unicode

# Private-use characters around what is learnt; a row that holds one of them is refused.
_OPEN, _CLOSE = "\U000f5a17", "\U000f5a18"

_GENERATION = re.compile(r"\{%[-+]?\s*generation\b")
_TEMPLATE_FAULTS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


class JinjaChat:
    """A chat template that says which stretches of its text are learnt; see `ChatTemplate`.

    Args:
        template: The template.
        variables: More names for it.
    """

    def __init__(self, template: str, variables: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
        environment.globals["raise_exception"] = _raise
        self._marks_itself = _GENERATION.search(template) is not None
        self._variables = {"bos_token": "", "eos_token": "", "add_generation_prompt": False, **variables}
        try:
            self._template = environment.from_string(template)
        except TemplateSyntaxError as error:
            raise DataError(f"`chat_template` is no Jinja template: {error} (line {error.lineno})") from None

    def render(self, messages: Sequence[Message], place: str) -> LearnedText:
        """Returns the text of a conversation and its learnt stretches."""
        if _holds_mark(list(messages)):
            raise BadRowError(f"{place}: a turn holds U+F5A17 or U+F5A18, which mark what is learnt; remove "
                              f"them from the row", "private-use mark", place)
        if self._marks_itself:
            text, learned = _unmarked(self._written(messages, place), place)
        else:
            text, learned = self._found(messages, place)
        return LearnedText(require_unicode(text, "a turn", place), tuple(learned))

    def _found(self, messages: Sequence[Message], place: str) -> tuple[str, list[tuple[int, int]]]:
        """The text, and the assistant's stretches in a template that does not mark them."""
        plain = self._written(messages, place)
        turns = [number for number, message in enumerate(messages) if _is_spoken(message)]
        marked = [_with_marks(message) if number in turns else message
                  for number, message in enumerate(messages)]
        text, stretches = _unmarked(self._written(marked, place), place)
        if text != plain or len(stretches) != len(turns):
            raise _unclear(place, "changes the assistant's words")
        learned = []
        for number, (start, stop) in zip(turns, stretches, strict=True):
            until_here = plain if number == len(messages) - 1 else self._written(messages[:number + 1], place)
            if not plain.startswith(until_here) or len(until_here) < stop:
                raise _unclear(place, "writes a turn otherwise when others follow")
            learned.append((start, len(until_here)))
        return plain, learned

    def _written(self, messages: Sequence[Message], place: str) -> str:
        try:
            return self._template.render(messages=list(messages), **self._variables)
        except _TEMPLATE_FAULTS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadRowError(f"{place}: the chat template fails on this conversation: {reason}; change the "
                              f"template or the row", "chat template fails", place) from error


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: what stands between is learnt."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:
        return f"{_OPEN}{caller()}{_CLOSE}"


def _raise(message: str) -> None:
    raise TemplateError(message)


def _is_spoken(message: Message) -> bool:
    words = message["content"]
    return message["role"] == "assistant" and isinstance(words, str) and bool(words.strip())


def _with_marks(message: Message) -> Message:
    """The message with marks inside the white space around its words, so that trimming changes nothing."""
    words = message["content"]
    core = words.strip()
    before, _, after = words.partition(core)
    return {**message, "content": f"{before}{_OPEN}{core}{_CLOSE}{after}"}


def _holds_mark(value: Any) -> bool:
    if isinstance(value, str):
        return _OPEN in value or _CLOSE in value
    if isinstance(value, Mapping):
        return any(map(_holds_mark, value.values()))
    return isinstance(value, list) and any(map(_holds_mark, value))


def _unmarked(marked: str, place: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without its marks, and the stretches between them."""
    before, *rest = marked.split(_OPEN)
    pieces, stretches = [before], []
    length = len(before)
    for part in rest:
        words, found, after = part.partition(_CLOSE)
        if not found or _CLOSE in after:
            raise _unclear(place, "cuts or repeats the assistant's words")
        if words:
            stretches.append((length, length + len(words)))
        pieces += [words, after]
        length += len(words) + len(after)
    return "".join(pieces), stretches


def _unclear(place: str, what: str) -> BadRowError:
    return BadRowError(f"{place}: the chat template {what}, so that what is learnt cannot be found; put "
                       f"{{% generation %}} and {{% endgeneration %}} around it in the template",
                       "chat template unclear", place)
