"""Chat templates: how a conversation is written, in training and in a chat."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.tokenization.chat.tool_calls import with_tools
from highnoon.tokenization.marked_text import MarkedText

Message = Mapping[str, Any]

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"

# The default template in Jinja, and what writes a begin token before it.
DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
BEGIN_TEMPLATE = "{{- bos_token }}"

# Fields of an assistant's turn that calls a tool instead of writing words.
TOOL_FIELDS = ("tool_calls", "function_call")

# A placeholder for any text, to find the text around it.
_PROBE = "Probe"


class ChatTemplateError(ValueError):
    """A template that is not Jinja, or a conversation that a template cannot write.

    Args:
        message: What was expected, what was received, what to do.
        reason: Its kind in a few words, under which bad rows are counted.
    """

    def __init__(self, message: str, reason: str = "chat template fails") -> None:
        super().__init__(message)
        self.reason = reason


class ChatTemplate:
    """Writes a conversation as text, and finds its supervised spans: the assistant's words and turn ends.

    The default writes each turn as `<|im_start|>role`, a line end, the words, `<|im_end|>` and a line end.
    A Jinja template receives `messages`, `add_generation_prompt` and `variables`; it runs in a sandbox with
    limits on time and memory. The supervised spans are found in one of two ways:

    - If the template has `{% generation %} ... {% endgeneration %}`, they are the text between.
    - Otherwise the assistant's words are rendered between two private-use characters that no record may
      contain. A span begins where a prompt for this answer ends, and stops where the conversation up to it
      stops when rendered alone. If a template changes the words, or writes a turn differently when others
      follow, an error asks for `{% generation %}`.

    A turn of the assistant without words or tool calls, or whose field `learn` is false, is not supervised.

    Args:
        template: A Jinja template; None takes the default, which does not need Jinja.
        variables: Further names for the template. `bos_token` and `eos_token` are empty unless given here,
            because a document is framed when it is tokenized.

    Raises:
        ImportError: a template is given and the extra `chat` is not installed.
        ChatTemplateError: the template is not Jinja.

    Example:

    ```python
    from highnoon.tokenization import ChatTemplate
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    chat = ChatTemplate().render(turns)
    assert [chat.text[start:stop] for start, stop in chat.supervised] == ["Ho<|im_end|>\\n"]
    assert ChatTemplate().prompt(turns[:1]).text + "Ho<|im_end|>\\n" == chat.text
    ```
    """

    def __init__(self, template: str | None = None, variables: Mapping[str, str] | None = None) -> None:
        self.template = template
        self.variables = dict(variables or {})
        if template is not None:
            # A template that is not Jinja fails here, not at the first row.
            self._ask("check", [])

    @classmethod
    def unchecked(cls, template: str | None, variables: Mapping[str, str]) -> ChatTemplate:
        """Returns a template from a file, which is checked when it is first used."""
        chat = cls()
        chat.template, chat.variables = template, dict(variables)
        return chat

    def render(self, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> MarkedText:
        """Returns the text of a conversation, its supervised spans and its marks.

        Args:
            messages: Turns, each with `role` and `content`; an assistant turn may have `tool_calls`.
            tools: The tools that may be called, as in the format of OpenAI. A Jinja template receives them as
                `tools`; the default lists them in the system turn, see `with_tools`.

        Raises:
            ChatTemplateError: the words are not text, or the template cannot write them.
        """
        if self.template is None:
            return self._written(with_tools(messages, tools))
        return self._ask("render", messages, tools)

    def prompt(self, messages: Sequence[Message]) -> MarkedText:
        """Returns what `render` writes before the assistant's answer to these turns."""
        if self.template is not None:
            return self._ask("prompt", messages)
        answered = [*with_tools(messages), {"role": "assistant", "content": _PROBE}]
        text, supervised, marks = self._written(answered)
        start, earlier = (supervised[-1][0], supervised[:-1]) if supervised else (0, ())
        return MarkedText(text[:start], earlier, tuple(mark for mark in marks if mark[1] <= start))

    @functools.cached_property
    def turn_end(self) -> str:
        """The text that ends a turn of the assistant: a mark if the template writes one.

        Otherwise it is the text between an answer and the next turn; empty if that is blank.
        """
        answer = {"role": "assistant", "content": _PROBE}
        asked = {"role": "user", "content": "user"}
        text, _, marks = self._first_written([[asked, answer], [answer]])
        _, is_found, tail = text.rpartition(_PROBE)
        if not is_found:
            # The template changes the words; a mark at the very end still ends the turn.
            start, stop = marks[-1] if marks else (0, 0)
            return "" if text[stop:].strip() else text[start:stop]
        for start, stop in marks:
            if len(text) - len(tail) <= start:
                return text[start:stop]
        if tail.strip():
            return tail.strip("\n ")
        text, _, _ = self._first_written([[asked, answer, {"role": "user", "content": "Next"}]])
        between = text.rpartition(_PROBE)[2].rpartition("Next")[0]
        return between.rstrip() if between.strip() else ""

    def jinja(self) -> str:
        """Returns the template as Jinja that sets its own variables."""
        if self.template is None:
            return DEFAULT_CHAT_TEMPLATE
        names = {"bos_token": "", "eos_token": "", **self.variables}
        values = {name: value for name, value in names.items() if name in self.template}
        return (
            "".join(f"{{% set {name} = {json.dumps(value)} %}}" for name, value in values.items())
            + self.template
        )

    def describe(self) -> str:
        """Returns everything that the text depends on, for a fingerprint."""
        return json.dumps([self.template, self.variables], sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChatTemplate) and self.describe() == other.describe()

    def __hash__(self) -> int:
        return hash(self.describe())

    def __repr__(self) -> str:
        return "ChatTemplate()" if self.template is None else f"ChatTemplate({self.template[:40]!r})"

    def _written(self, messages: Sequence[Message]) -> MarkedText:
        """Writes a conversation in the default template."""
        pieces: list[str] = []
        supervised: list[tuple[int, int]] = []
        marks: list[tuple[int, int]] = []
        length = 0
        for message in messages:
            words = message["content"]
            if not isinstance(words, str):
                raise ChatTemplateError(
                    f"the words of a turn must be text; received {_shown_words(words)}; "
                    f"give a `chat_template` that can write them",
                    "not text",
                )
            head, tail = f"{TURN_START}{message['role']}\n", f"{words}{TURN_END}\n"
            start, stop = length + len(head), length + len(head) + len(tail)
            marks += [(length, length + len(TURN_START)), (start + len(words), stop - 1)]
            pieces += [head, tail]
            length = stop
            if is_supervised(message):
                supervised.append((start, stop))
        return MarkedText(_require_unicode("".join(pieces)), tuple(supervised), tuple(marks))

    def _first_written(self, conversations: Sequence[Sequence[Message]]) -> MarkedText:
        """Writes the first of some conversations that the template can write; an empty text if none."""
        for messages in conversations:
            try:
                return self.render(messages)
            except ChatTemplateError:
                continue
        return MarkedText("")

    def _ask(self, task: str, messages: Sequence[Message], tools: Sequence[Any] | None = None) -> MarkedText:
        if not is_jinja_installed():
            raise ImportError("a chat template needs Jinja: pip install highnoon[chat]")
        from highnoon.tokenization.chat.jinja_process import ask_jinja

        found = ask_jinja(task, self.template or "", self.variables, messages, tools)
        return MarkedText(_require_unicode(found.text), found.supervised, found.marks)


def is_jinja_installed() -> bool:
    """Returns whether the extra `chat` is installed."""
    return importlib.util.find_spec("jinja2") is not None


def is_supervised(message: Message) -> bool:
    """Returns whether the words of a turn count in the loss."""
    is_tool_call = any(message.get(name) for name in TOOL_FIELDS)
    return (
        message["role"] == "assistant"
        and (has_words(message) or is_tool_call)
        and message.get("learn", True) is not False
    )


def has_words(message: Message) -> bool:
    """Returns whether the content of a turn is text that is not blank."""
    words = message["content"]
    return isinstance(words, str) and bool(words.strip())


def _shown_words(words: Any) -> str:
    """Returns what the content of a turn is, if it is not text: the kind of a part that is none."""
    if isinstance(words, list):
        kinds = [part.get("type") for part in words if isinstance(part, Mapping)]
        if other := next((kind for kind in kinds if isinstance(kind, str) and kind != "text"), None):
            return f"a part of type {other[:40]!r}, and only parts of text can be trained on"
    return type(words).__name__


def _require_unicode(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ChatTemplateError(
                f"a turn has a lone surrogate at character {error.start}, which is not "
                f"Unicode text; repair the record",
                "lone surrogate",
            ) from None
    return text
