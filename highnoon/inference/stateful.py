"""A conversation whose tokens stay in the model's cache."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from highnoon.config import require_count
from highnoon.inference.decoding.cache_layout import context_limit
from highnoon.inference.decoding.sampling import uniforms_for
from highnoon.inference.decoding.session import Drawing, Session
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request
from highnoon.tokenization import ChatTemplate
from highnoon.tokenization.marked_text import encode_prompt

_ROLES = {"system": "System", "user": "User", "assistant": "Assistant"}
_NEXT_TURN = "\nUser:"


@dataclasses.dataclass(frozen=True)
class _Message:
    role: str
    content: str
    ids: list[int]


class StatefulWrapper:
    """A model with a conversation, which computes only the new tokens at each turn.

    If the tokenizer has a `chat_template`, as that of a model trained on conversations has, the
    conversation is written in it, token for token as in training, and an answer ends at the template's end
    of a turn. Otherwise it is plain text that starts with the begin token, and an answer ends before a line
    that starts with `User:`:

    ```
    System: {system_prompt}
    User: {message}
    Assistant: {answer}
    User: ...
    ```

    `chat_format` tells which of the two it is. An answer also ends at the end token, or at its limit. An
    answer that was cut at a stop text is read again at the next turn; everything else is read once. If the
    conversation exceeds `max_history`, the oldest messages are left out and the rest is read again; the
    system prompt stays.

    Args:
        model: A language model with a cache.
        max_history: Most tokens of conversation and answer together, at least 2; the
            context of a model with attention is a limit too.
        system_prompt: How the conversation starts.
        tokenizer: None takes the model's.

    Raises:
        ValueError: there is no tokenizer, `max_history` is below 2, or the chat template fails.
        ImportError: the chat template is Jinja and the extra `chat` is not installed.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import StatefulWrapper
    from highnoon.tokenization import ByteTokenizer

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    chat = StatefulWrapper(model, tokenizer=ByteTokenizer())
    chat.add_user_message("Hello")
    answer = chat.generate(max_length=8, seed=1)
    assert chat.get_history()[-1] == {"role": "assistant", "content": answer}
    ```
    """

    def __init__(
        self, model: Any, max_history: int = 4096, system_prompt: str | None = None, tokenizer: Any = None
    ):
        self.model = decoding_model(model)
        self.max_history = require_count("max_history", max_history, least=2)
        self.system_prompt = system_prompt
        self.tokenizer: Any = tokenizer if tokenizer is not None else getattr(self.model, "tokenizer", None)
        if self.tokenizer is None:
            raise ValueError("a conversation needs a tokenizer; set `model.tokenizer` or pass `tokenizer=`")
        self.chat_template: ChatTemplate | None = getattr(self.tokenizer, "chat_template", None)
        if self.chat_template is not None:
            self.chat_template.prompt([{"role": "user", "content": "A template that fails, fails here."}])
        self.reset()

    @property
    def chat_format(self) -> str:
        """How the conversation is written, in a few words."""
        if self.chat_template is None:
            return "plain `User:` and `Assistant:` lines, because the tokenizer has no chat template"
        if self.chat_template.template is None:
            return "the chat template of the tokenizer, with `<|im_start|>` and `<|im_end|>` around each turn"
        return "the chat template of the tokenizer, a Jinja template"

    def reset(self) -> None:
        """Deletes the conversation; the system prompt stays."""
        self._messages: list[_Message] = []
        # Which tokens are in which cache, the most recent last. A cache is never changed, only replaced, so
        # that of the last question can be used again.
        self._cached: list[tuple[list[int], Any]] = []
        self._session: Session | None = None

    def add_user_message(self, message: str) -> None:
        """Adds a message of the user."""
        self._add("user", message)

    def add_assistant_message(self, message: str) -> None:
        """Adds an answer that the model did not generate."""
        self._add("assistant", message)

    def take_back(self) -> str | None:
        """Removes the last message of the user with its answer, and returns it; None where there is none."""
        last = max((i for i, one in enumerate(self._messages) if one.role == "user"), default=None)
        if last is None:
            return None
        message = self._messages[last].content
        del self._messages[last:]
        return message

    def get_history(self) -> list[dict[str, str]]:
        """Returns all messages since the last reset, each with its `role` and `content`."""
        return [{"role": message.role, "content": message.content} for message in self._messages]

    def require_options(self, **options: Any) -> None:
        """Checks arguments of `generate` before there is a message to answer.

        Raises:
            ValueError: one of them is out of its range.
            TypeError: one of them does not exist.
        """
        Request.require_known("generate", options, taken=["tokenizer"])
        Request.read(self.model, [[0]], tokenizer=self.tokenizer, **options)

    def generate(self, max_length: int = DEFAULT_MAX_LENGTH, **kwargs: Any) -> str:
        """Answers the last message, adds the answer to the conversation and returns it.

        Args:
            max_length: New tokens at most.
            **kwargs: Other arguments of `highnoon.inference.generate`; `stop_sequences` are added to
                those of the conversation.

        Raises:
            ValueError: the last message is not the user's, or it alone is too long.
            TypeError: an unknown argument.
        """
        if not self._messages or self._messages[-1].role != "user":
            raise ValueError("there is no question to answer; call `add_user_message` first")
        Request.require_known("generate", kwargs, taken=["tokenizer"])
        stops = kwargs.pop("stop_sequences", None)
        stops = [] if stops is None else [stops] if isinstance(stops, (str, int, np.integer)) else list(stops)
        capacity = min(self.max_history, context_limit(self.model))
        wanted = max_length if kwargs.get("max_new_tokens") is None else kwargs["max_new_tokens"]
        ids = self._context(capacity, wanted)
        if self.chat_template is None:
            stops = [*stops, _NEXT_TURN]
        request = Request.read(
            self.model, [ids], max_length, stop_sequences=stops, tokenizer=self.tokenizer, **kwargs
        )
        limit = min(request.limits[0], capacity - len(ids))
        drawn, text, is_cut = self._draw(request, ids, limit, capacity)
        if self.chat_template is not None:
            self._messages.append(_Message("assistant", text, []))
            return text
        answer = text.strip()
        kept = self._encode(text) if is_cut else [i for i in drawn if i not in request.stop_ids]
        turn = [*self._encode("Assistant:"), *kept, *self._encode("\n")]
        self._messages.append(_Message("assistant", answer, turn))
        return answer

    def _draw(
        self, request: Request, ids: list[int], limit: int, capacity: int
    ) -> tuple[list[int], str, bool]:
        """Returns the new ids, their text, and whether the text was cut at a stop sequence."""
        session = self._session_with(ids[:-1], capacity)
        before = (ids[:-1], session.cache)
        uniforms = uniforms_for(request.seed, [0], limit)
        drawing = Drawing(
            session, [ids], request.sampling, [limit], request.stop_ids, uniforms, request.num_ids
        )
        continuation = request.continuation(0)
        is_cut = False
        while not drawing.is_done and not is_cut:
            drawing.advance(8)
            is_cut = continuation.is_stopped(drawing.drawn()[0])
        (drawn,) = drawing.drawn()
        self._cached = [before, ([*ids, *drawn[:-1]], session.cache)]
        return drawn, continuation.text(drawn), is_cut

    def _session_with(self, ids: list[int], capacity: int) -> Session:
        """Returns a session that contains `ids`, reading only those that no cache contains."""
        if self._session is None:
            self._session = Session(self.model, 1, capacity)
            self._cached = [([], self._session.cache)]
        fitting = [(known, cache) for known, cache in self._cached if ids[: len(known)] == known]
        known, cache = max(fitting, key=lambda pair: len(pair[0]), default=([], None))
        self._session.cache = self.model.initial_cache(1, self._session.capacity) if cache is None else cache
        self._session.length = len(known)
        self._session.read(np.asarray([ids[len(known) :]], np.int32))
        return self._session

    def _context(self, capacity: int, wanted: int) -> list[int]:
        """Returns the ids to answer, without the oldest messages if they leave no room for the answer."""
        prompt = self._plain_prompt if self.chat_template is None else self._template_prompt
        turns = self._messages
        ids = prompt(turns)
        while len(turns) > 1 and len(ids) + wanted > capacity:
            # The rest starts with a question.
            turns = turns[next(i for i in range(1, len(turns)) if turns[i].role == "user") :]
            ids = prompt(turns)
        if len(ids) >= capacity:
            raise ValueError(
                f"the last message makes a context of {len(ids)} tokens, and at most {capacity} fit "
                "(the smaller of max_history and the model's max_seq_length); shorten it"
            )
        return ids

    def _plain_prompt(self, turns: list[_Message]) -> list[int]:
        ids = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        if self.system_prompt is not None:
            ids += self._encode(_line("system", self.system_prompt))
        return [*ids, *(i for turn in turns for i in turn.ids), *self._encode("Assistant:")]

    def _template_prompt(self, turns: list[_Message]) -> list[int]:
        assert self.chat_template is not None
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        if self.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        return encode_prompt(self.chat_template.prompt(messages), self.tokenizer)

    def _add(self, role: str, content: str) -> None:
        ids = self._encode(_line(role, content)) if self.chat_template is None else []
        self._messages.append(_Message(role, content, ids))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _line(role: str, content: str) -> str:
    return f"{_ROLES[role]}: {content}\n"
