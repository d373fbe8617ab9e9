"""The kinds of experts: how a frozen language model gives the distribution of the next token."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import keras
from keras import ops

from highnoon.config import ConfigError
from highnoon.files.shown import shown
from highnoon.models.registry import Registry

_Class = TypeVar("_Class", bound="type[ExpertKind]")

KINDS: Registry[Any] = Registry(
    "kind of expert",
    "highnoon.expert_kinds",
    {
        "autoregressive": "highnoon.experts.autoregressive_kind:Autoregressive",
        "block_diffusion": "highnoon.experts.block_diffusion_kind:BlockDiffusionKind",
    },
)


class ExpertKind(abc.ABC):
    """How a frozen language model gives the distribution of the next token.

    A kind has no state. What it returns must not depend on tokens after the one that is predicted from, nor
    on other rows of the batch.

    Attributes:
        name: The registered name, which the `outputs_description` of a model holds as `expert_kind`.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def token_log_probs(self, model: keras.Model, batch: Mapping[str, Any]) -> Any:
        """Returns the log-probability of each label, `log p(labels[t] | token_ids[<= t])`.

        Args:
            model: The expert; it is not trained, and dropout does not act.
            batch: `token_ids` and `labels` (b, t) int32, `loss_weights` (b, t), above 0 where there is a
                label, and `padding_mask` or `segment_ids` and `positions` (b, t).

        Returns:
            (b, t) float32, in nats; 0 where there is no label.
        """

    @abc.abstractmethod
    def initial_cache(self, model: keras.Model, batch_size: int, max_length: int) -> Any:
        """Returns an empty decoding state for `max_length` tokens: a nested dict of static shapes."""

    @abc.abstractmethod
    def decode(
        self, model: keras.Model, token_ids: Any, cache: Any, index: Any, padding: Any = None
    ) -> tuple[Any, Any]:
        """Reads new tokens (b, t) into the cache; returns logits (b, t, v) and the new cache.

        The arguments are those of `LanguageModel.decode`.
        """

    def logits(self, model: keras.Model, inputs: Mapping[str, Any]) -> Any:
        """Returns the logits of complete rows, read at once.

        Args:
            model: The expert.
            inputs: `token_ids` (b, t), and where there are any `padding_mask`, `segment_ids`, `positions`.

        Returns:
            (b, t, v) float32; undefined at padding.

        Raises:
            ConfigError: rows of several documents, which `decode` cannot tell apart.
        """
        if inputs.get("segment_ids") is not None:
            raise ConfigError(
                f"an expert of the kind `{self.name}` reads one document a row; received `segment_ids`; give "
                "`padding_mask`"
            )
        token_ids, mask = inputs["token_ids"], inputs.get("padding_mask")
        num_rows, length = token_ids.shape
        padding = None
        if mask is not None:  # positions before the first token of a row
            before = ops.equal(ops.cumsum(ops.cast(mask, "int32"), axis=1), 0)
            padding = ops.sum(ops.cast(before, "int32"), axis=1)
        cache = self.initial_cache(model, num_rows, length)
        return ops.cast(self.decode(model, token_ids, cache, 0, padding)[0], "float32")


def register_expert_kind(cls: _Class) -> _Class:
    """Registers a kind of expert under its `name`.

    Raises:
        ConfigError: the class is no `ExpertKind`, or another kind has the name.
    """
    if not (isinstance(cls, type) and issubclass(cls, ExpertKind)):
        raise ConfigError(f"a kind of expert must be a subclass of ExpertKind; received {shown(cls)}")
    KINDS.register(cls.name, cls)
    return cls


def expert_kind(model: keras.Model) -> ExpertKind:
    """Returns the kind of a language model, which its `outputs_description` names as `expert_kind`.

    A model whose training described nothing is `autoregressive`.

    Raises:
        ConfigError: the description names a kind that is not known here.

    Example:

    ```python
    import highnoon as hn
    from highnoon.experts.expert_kinds import expert_kind

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    assert expert_kind(model).name == "autoregressive"
    ```
    """
    outputs = getattr(model, "outputs_description", None) or {}
    return KINDS[outputs.get("expert_kind", "autoregressive")]()
