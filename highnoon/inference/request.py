"""A request: the arguments of a generation, checked once for every way to generate."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from highnoon.config import default, is_given
from highnoon.config.known_arguments import unknown_argument
from highnoon.inference.decoding.cache_layout import context_limit
from highnoon.inference.decoding.continuation import Continuation
from highnoon.inference.decoding.decoder import padded_length
from highnoon.inference.decoding.sampling import Sampling, resolve_seed, uniforms_for
from highnoon.inference.decoding.session import Drawing, Session
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.inference.generation_hints import GENERATION_HINTS
from highnoon.inference.logits_processors.logits_processor import LogitsProcessor
from highnoon.inference.prompts import Prompts
from highnoon.inference.require_number import require_whole
from highnoon.tokenization import Tokenizer
from highnoon.tokenization.keras_hub_tokenizer import as_tokenizer

DEFAULT_MAX_LENGTH = default(256)


@dataclasses.dataclass(frozen=True)
class Request:
    """The checked arguments of a generation, see `generate`."""

    model: Any
    prompts: Prompts
    tokenizer: Any
    sampling: Sampling
    limits: list[int]
    stop_ids: list[int]
    stop_texts: list[str]
    marked_stop_texts: list[str]
    seed: int

    @property
    def num_ids(self) -> int:
        """How many ids may be drawn: those that the tokenizer, if there is one, can turn into text."""
        return self.model.vocab_size if self.tokenizer is None else self.tokenizer.vocab_size

    @classmethod
    def read(
        cls,
        model: Any,
        prompts: Any,
        max_length: int = DEFAULT_MAX_LENGTH,
        temperature: float = 1.0,
        top_k: int | None = 50,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop_sequences: str | int | Sequence[str | int] | None = None,
        tokenizer: Any = None,
        seed: int | None = None,
        max_new_tokens: int | None = None,
        logits_processors: Sequence[LogitsProcessor] | None = None,
    ) -> Request:
        """Checks the arguments of a generation."""
        sampling = Sampling(temperature, top_k, top_p, repetition_penalty, logits_processors or ())
        model = decoding_model(model)
        tokenizer = as_tokenizer(tokenizer) if tokenizer is not None else getattr(model, "tokenizer", None)
        _check_tokenizer(tokenizer, model)
        read = Prompts.read(prompts, tokenizer, model.vocab_size)
        stop_ids, stop_texts, marked = _read_stops(stop_sequences, tokenizer)
        room = _resolve_length(max_length, max_new_tokens)
        limits = [min(room, left) for left in _room_left(read.rows, context_limit(model))]
        seed = resolve_seed(seed)
        request = cls(model, read, tokenizer, sampling, limits, stop_ids, stop_texts, marked, seed)
        # Refuses a processor that does not fit before anything is computed.
        sampling.values(request.num_ids)
        return request

    @classmethod
    def require_known(cls, caller: str, options: Iterable[str], taken: Sequence[str] = ()) -> None:
        """Checks the names of arguments that a public function passes to `read`.

        Args:
            caller: The function, as its users write it.
            options: The names.
            taken: Arguments of `read` that the function sets itself.

        Raises:
            TypeError: a name is not an argument.
        """
        names = list(inspect.signature(cls.read).parameters)[2:]
        known = [name for name in names if name not in taken]
        for option in options:
            if option not in known:
                raise unknown_argument(caller, option, known, hints=GENERATION_HINTS)

    def start(self, indices: Sequence[int], batch_size: int) -> Drawing:
        """Reads some of the prompts into a cache and returns the drawing that continues them.

        Args:
            indices: Which prompts.
            batch_size: Rows to compute, at least as many as `indices`; the others are empty.
        """
        empty = batch_size - len(indices)
        rows = [self.prompts.rows[index] for index in indices] + [[0]] * empty
        limits = [self.limits[index] for index in indices] + [0] * empty
        # A model without a length limit needs no slots for its prompt, whose length then adds no shape.
        is_bounded = context_limit(self.model) < sys.maxsize
        read = padded_length(max(map(len, rows))) if is_bounded else 0
        session = Session(self.model, batch_size, read + max(limits))
        session.read_prompts(rows)
        # Nothing is drawn for an empty row, so it may have the numbers of any row.
        uniforms = uniforms_for(self.seed, [*indices, *[0] * empty], max(limits))
        return Drawing(session, rows, self.sampling, limits, self.stop_ids, uniforms, self.num_ids)

    def continuation(self, index: int) -> Continuation:
        """Returns what turns the new ids of a prompt into text."""
        return Continuation(self.tokenizer, self.prompts.rows[index], self.stop_texts, self.marked_stop_texts)

    def give_back(self, new_ids: list[list[int]], strip_prompt: bool) -> Any:
        """Returns the results in the form of the prompts."""
        texts = []
        if self.prompts.texts is not None:
            texts = [self.continuation(index).text(ids) for index, ids in enumerate(new_ids)]
        pad_id = getattr(self.tokenizer, "pad_token_id", None) or 0
        return self.prompts.give_back(new_ids, texts, strip_prompt, pad_id)


def _check_tokenizer(tokenizer: Any, model: Any) -> None:
    if tokenizer is not None and tokenizer.vocab_size > model.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids and the model takes {model.vocab_size:,}; "
            "use the tokenizer that the model was trained with"
        )


def _resolve_length(max_length: int, max_new_tokens: int | None) -> int:
    if max_new_tokens is not None and is_given(max_length):
        raise ValueError(
            f"`max_length` and `max_new_tokens` name the same limit; received {max_length} "
            f"and {max_new_tokens}, give one of them"
        )
    if max_new_tokens is not None:
        return require_whole("max_new_tokens", max_new_tokens)
    return require_whole("max_length", max_length)


def _room_left(rows: Sequence[Sequence[int]], limit: int) -> list[int]:
    for index, row in enumerate(rows):
        if len(row) >= limit:
            raise ValueError(
                f"prompt {index} has {len(row)} tokens and must leave room in the model's context of "
                f"max_seq_length={limit}; shorten it"
            )
    return [limit - len(row) for row in rows]


def _read_stops(stops: Any, tokenizer: Any) -> tuple[list[int], list[str], list[str]]:
    """Sorts stop sequences into ids, with the tokenizer's end token, texts, and texts with a special token.

    The name of a special token also means its id: decoding leaves special tokens out, so no text contains
    the name.
    """
    stops = [] if stops is None else [stops] if isinstance(stops, (str, int, np.integer)) else list(stops)
    end_id = getattr(tokenizer, "eos_token_id", None)
    ids = [] if end_id is None else [int(end_id)]
    texts = []
    for stop in stops:
        if isinstance(stop, str) and stop:
            texts.append(stop)
        elif isinstance(stop, (int, np.integer)) and not isinstance(stop, bool):
            ids.append(int(stop))
        else:
            raise ValueError(f"each of `stop_sequences` must be a text or a token id; received {stop!r}")
    # What a model trained on conversations generates at the end of its turn.
    ends = tokenizer.turn_ends() if isinstance(tokenizer, Tokenizer) else []
    ids += [end for end in ends if isinstance(end, int) and end not in ids]
    texts += [end for end in ends if isinstance(end, str) and end not in texts]
    if texts and tokenizer is None:
        raise ValueError("stop sequences of text need a tokenizer; pass `tokenizer=` or give token ids")
    names = _special_names(tokenizer) if texts else {}
    ids += [names[text.strip()] for text in texts if text.strip() in names]
    marked = [text for text in texts if any(name in text for name in names)]
    return list(dict.fromkeys(ids)), texts, marked


def _special_names(tokenizer: Any) -> dict[str, int]:
    special_ids = sorted(getattr(tokenizer, "special_ids", ()))
    names = {tokenizer.decode([i], skip_special_tokens=False).strip(): i for i in special_ids}
    return {name: i for name, i in names.items() if name}
