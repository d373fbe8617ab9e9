"""How a conversation is written, and which of its words are learnt."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from highnoon.data.bad_rows import BadRowError
from highnoon.data.chat_turns import Message
from highnoon.data.document import LearnedText
from highnoon.data.row_values import require_unicode

if TYPE_CHECKING:
    from highnoon.data.jinja_chat import JinjaChat

# What the default does, for whoever renders a conversation elsewhere.
DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class ChatTemplate:
    """Writes a conversation as text; learnt is what the assistant says, and what ends its turn.

    The default writes each turn as `<|im_start|>role`, a line end, the words, `<|im_end|>` and a line end.
    A Jinja template is given `messages`, `add_generation_prompt` (false) and `variables`, and runs in a
    sandbox. The assistant's stretches are found in one of two ways:

    - Where the template has `{% generation %} ... {% endgeneration %}`, they are what stands between.
    - Otherwise the assistant's words are rendered between two private-use characters that no row may hold,
      and the end of a turn is where the conversation up to it ends when it is rendered alone. A template
      that changes the words, or writes a turn otherwise when others follow, is an error that asks for
      `{% generation %}`.

    Args:
        template: A Jinja template; None is the default, which needs no Jinja.
        variables: More names for the template. `bos_token` and `eos_token` are empty unless given here,
            for a document is framed when it is tokenised.

    Raises:
        ImportError: a template is given and the extra `chat` is not installed.
        DataError: the template is no Jinja.

    Example:

    ```python
    from highnoon.data.chat_template import ChatTemplate
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    text, learned = ChatTemplate().render(turns, "a.jsonl:1")
    assert [text[start:stop] for start, stop in learned] == ["Ho<|im_end|>\\n"]
    ```
    """

    def __init__(self, template: str | None = None, variables: Mapping[str, str] | None = None) -> None:
        self.template = template
        self.variables = dict(variables or {})
        if template is not None:
            self._jinja  # noqa: B018  a template that is none fails here, not at the first row

    def render(self, messages: Sequence[Message], place: str) -> LearnedText:
        """Returns the text of a conversation and its learnt stretches.

        Args:
            messages: Turns, each with `role` and `content`.
            place: Where they are, for errors.

        Raises:
            BadRowError: words that are no text, or that the template cannot write.
        """
        if self.template is not None:
            return self._jinja.render(messages, place)
        pieces: list[str] = []
        learned: list[tuple[int, int]] = []
        length = 0
        for message in messages:
            head = f"<|im_start|>{message['role']}\n"
            words = message["content"]
            if not isinstance(words, str):
                raise BadRowError(f"{place}: the words of a turn must be text; received "
                                  f"{type(words).__name__}; give a `chat_template` that can write them",
                                  "not text", place)
            tail = f"{words}<|im_end|>\n"
            start, length = length + len(head), length + len(head) + len(tail)
            pieces += [head, tail]
            if message["role"] == "assistant":
                learned.append((start, length))
        return LearnedText(require_unicode("".join(pieces), "a turn", place), tuple(learned))

    def describe(self) -> str:
        """Returns what decides the text, for a fingerprint."""
        return json.dumps([self.template, self.variables], sort_keys=True)

    @functools.cached_property
    def _jinja(self) -> JinjaChat:
        try:
            from highnoon.data.jinja_chat import JinjaChat
        except ImportError:
            raise ImportError("a chat template needs Jinja: pip install highnoon[chat]") from None
        return JinjaChat(self.template or "", self.variables)
