"""Lets models without a cache generate: every new token reads its entire sequence again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.inference.block_diffusion.diffusion_outputs import is_diffusion
from highnoon.inference.block_diffusion.next_token_model import next_token_model
from highnoon.tokenization.keras_hub_tokenizer import as_tokenizer, is_keras_hub_tokenizer, is_readable

_PROTOCOL = ("initial_cache", "decode", "vocab_size", "max_seq_length")
_ATTRIBUTE = "_highnoon_uncached_model"
_NO_LIMIT = 1 << 20
_PROBE_LENGTH = 8
_MASKS = ("padding_mask", "attention_mask")
_IDS = ("token_ids", "input_ids")
_TOLERANCE = 1e-3


def decoding_model(model: Any) -> Any:
    """Returns a model that the decoding functions take: the model itself, a `NextTokenModel` around one of
    block diffusion, or an `UncachedModel` around one without a cache.

    Args:
        model: A model with a cache, as HighNoon's, or a causal `keras.Model` from token ids to logits, as
            KerasHub's `CausalLM`.

    Raises:
        TypeError: neither; the message says what the model lacks or what to call.
        ValueError: a model whose logits depend on later tokens.
    """
    if hasattr(model, "initial_cache") and hasattr(model, "decode"):
        missing = [name for name in _PROTOCOL if not hasattr(model, name)]
        if missing:
            raise TypeError(
                f"a model with a cache has {', '.join(_PROTOCOL)}; a {type(model).__name__} lacks "
                f"{', '.join(missing)}"
            )
        return next_token_model(model) if is_diffusion(model) else model
    if not isinstance(model, keras.Model) or _is_backbone(model):
        raise TypeError(_not_taken(model))
    known = vars(model).get(_ATTRIBUTE)
    if known is None:
        known = UncachedModel(model)
        # Found again at the next call, and freed with the model; Keras does not track it.
        object.__setattr__(model, _ATTRIBUTE, known)
    return known


class UncachedModel:
    """A causal Keras model with the interface of one that has a cache.

    The "cache" holds the ids. Each step computes the logits of all tokens, so n new tokens cost about n full
    passes.

    Args:
        model: Maps token ids (b, t), or a dict of them with a mask, to logits (b, t, v).

    Raises:
        TypeError: the model takes or returns something else.
        ValueError: its logits depend on later tokens.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._read_tokenizer: tuple[Any, Any] = (None, None)
        self._fixed_length = _fixed_length(model)
        self.max_seq_length = self._fixed_length or _longest(model)
        length = self._fixed_length or min(_PROBE_LENGTH, self.max_seq_length)
        token_ids = np.ones((2, length), np.int32)
        token_ids[1, length // 2 :] = 2
        self._call, logits = _first_call(model, token_ids)
        self.vocab_size = int(logits.shape[-1])
        _require_causal(model, logits[:, : length // 2])

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, of KerasHub's the byte-pair ones; None where there is none that is read."""
        tokenizer = getattr(self.model, "tokenizer", None)
        if tokenizer is None:
            tokenizer = getattr(getattr(self.model, "preprocessor", None), "tokenizer", None)
        if is_keras_hub_tokenizer(tokenizer) and not is_readable(tokenizer):
            return None
        if tokenizer is not self._read_tokenizer[0]:
            self._read_tokenizer = (tokenizer, as_tokenizer(tokenizer))
        return self._read_tokenizer[1]

    @property
    def variables(self) -> list[keras.Variable]:
        """The model's variables, which compiled functions read at every call."""
        return self.model.variables

    def initial_cache(self, batch_size: int, max_length: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns room for the ids of `max_length` tokens."""
        return {"token_ids": ops.zeros((batch_size, max_length), "int32")}

    def decode(
        self, token_ids: Any, cache: Any, index: Any, padding: Any = None, *, last_only: bool = False
    ) -> Any:
        """Returns the logits of new tokens (b, t) at slots from `index`, and the cache with them."""
        num_rows, num_new = token_ids.shape
        known = ops.slice_update(cache["token_ids"], (0, index), ops.cast(token_ids, "int32"))
        capacity = known.shape[1]
        width = self._fixed_length or min(capacity, self.max_seq_length)
        padding = ops.zeros((num_rows,), "int32") if padding is None else ops.cast(padding, "int32")
        # A row starts at its first token: the model sees no padding before it, and cannot see what follows.
        slots = ops.arange(width, dtype="int32")[None] + padding[:, None]
        is_token = slots < index + num_new
        rows = ops.take_along_axis(known, ops.minimum(slots, capacity - 1), axis=1)
        logits = self._call(ops.where(is_token, rows, 0), is_token)
        first_new = num_new - 1 if last_only else 0
        positions = index + ops.arange(first_new, num_new, dtype="int32")[None] - padding[:, None]
        positions = ops.clip(positions, 0, width - 1)[:, :, None]
        return ops.cast(ops.take_along_axis(logits, positions, axis=1), "float32"), {"token_ids": known}


def _first_call(model: keras.Model, token_ids: np.ndarray) -> tuple[Callable[..., Any], np.ndarray]:
    """How the model is called with ids and a mask, and the logits of a first call."""
    reasons = []
    for call in _forms(model):
        try:
            logits = call(ops.convert_to_tensor(token_ids), ops.ones(token_ids.shape, "bool"))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            reasons.append(" ".join(str(error).split())[:200])
            continue
        if len(getattr(logits, "shape", ())) != 3 or tuple(logits.shape[:2]) != token_ids.shape:
            raise TypeError(
                f"a {type(model).__name__} must return logits (rows, tokens, vocabulary) of token ids; "
                f"received {_described(logits)} of ids {token_ids.shape}"
            )
        return call, ops.convert_to_numpy(logits)
    raise TypeError(
        f"a {type(model).__name__} must take token ids (rows, tokens), or a dict of `token_ids` and "
        f"`padding_mask`: {reasons[-1]}"
    )


def _forms(model: keras.Model) -> list[Callable[..., Any]]:
    """The ways in which the model may be called, the likeliest first."""
    inputs = getattr(model, "_inputs_struct", None)
    if isinstance(inputs, dict):
        return [_called_with(model, list(inputs), {name: x.dtype for name, x in inputs.items()})]
    plain = lambda ids, mask: model(ids, training=False)  # noqa: E731
    if inputs is not None or isinstance(model, keras.Sequential):
        return [plain]
    return [_called_with(model, [_IDS[0], _MASKS[0]], {}), plain]


def _called_with(model: keras.Model, names: list[str], dtypes: dict[str, str]) -> Callable[..., Any]:
    unknown = [name for name in names if name not in (*_IDS, *_MASKS)]
    if unknown:
        raise TypeError(
            f"a {type(model).__name__} takes {', '.join(names)}; generation gives `token_ids` and "
            "`padding_mask` alone"
        )

    def call(token_ids: Any, is_token: Any) -> Any:
        given = {name: token_ids if name in _IDS else is_token for name in names}
        return model({k: ops.cast(v, dtypes.get(k, "int32")) for k, v in given.items()}, training=False)

    return call


def _require_causal(model: keras.Model, logits: np.ndarray) -> None:
    """The rows differ in later tokens alone."""
    one, other = logits.astype(np.float32)
    if np.abs(one - other).max(initial=0) > _TOLERANCE * np.abs(one).max(initial=1):
        raise ValueError(
            f"the logits of a {type(model).__name__} depend on later tokens, so it cannot generate; "
            "use a causal model"
        )


def _fixed_length(model: keras.Model) -> int | None:
    """The only length that a model takes, None where it takes any."""
    inputs = getattr(model, "_inputs_struct", None)
    shapes = [] if inputs is None else [x.shape for x in keras.tree.flatten(inputs)]
    return next((int(shape[1]) for shape in shapes if len(shape) == 2 and shape[1] is not None), None)


def _longest(model: keras.Model) -> int:
    for owner in (model, getattr(model, "backbone", None)):
        for name in ("max_seq_length", "max_sequence_length"):
            if isinstance(getattr(owner, name, None), int):
                return int(getattr(owner, name))
    return _NO_LIMIT


def _is_backbone(model: keras.Model) -> bool:
    """Whether a model is one of KerasHub's backbones, which this room does not import."""
    return any(
        cls.__name__ == "Backbone" and cls.__module__.startswith("keras_hub.") for cls in type(model).__mro__
    )


def _not_taken(model: Any) -> str:
    kind = f"{type(model).__module__.split('.')[0]}'s {type(model).__name__}"
    if hasattr(model, "save_pretrained"):
        return f"{kind} is no Keras model; call its save_pretrained(folder), then hn.load_model(folder)"
    if isinstance(model, keras.Model):
        return f"{kind} is a backbone, whose outputs are hidden states; give the language model around it"
    if isinstance(model, (str, bytes)) or hasattr(model, "__fspath__"):
        return f"`model` must be a model; received the path {str(model)!r}: call hn.load_model first"
    return f"`model` must be a keras.Model from token ids to logits; received {kind}"


def _described(logits: Any) -> str:
    return f"shape {tuple(logits.shape)}" if hasattr(logits, "shape") else type(logits).__name__
