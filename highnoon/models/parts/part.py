"""What a reasoning block's mixers and feed-forwards are to the rest of the package."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import keras

from highnoon.config import ModelConfig


class Activations(NamedTuple):
    """Numbers of one token that a layer stores for the backward pass.

    Args:
        wide: Numbers in float32, whatever the dtype policy.
        narrow: Numbers in the policy's compute dtype.
        copies: Numbers that do not depend on the tokens, in the compute dtype: copies of kernels.
    """

    wide: float
    narrow: float
    copies: float = 0


class Part:
    """All that HighNoon knows of one mixer or feed-forward.

    A subclass of `MixerPart` or `FeedForwardPart` in a file of its own, registered under the name that block
    patterns use, is enough: the model is built from it, its parameters, memory and FLOPs are counted, and
    `highnoon models`, LoRA and the command line know it.

    The constructor's arguments are the part's own options, each with a default; a pattern may give them:
    `"running_mean(decay=0.5)+mlp"`. Options that are fields of `ModelConfig` are named in `fields` and
    arrive in `config`, where a pattern's value has replaced the model's.

    Attributes:
        fields: Fields of `ModelConfig` that only parts like this one read, and that a pattern may give.
        lora_layers: Names of the layers that `enable_lora` gives factors by default.

    Example:

    ```python
    import keras
    from highnoon.models import LanguageModel
    from highnoon.models.parts import FeedForwardPart, register_part

    @register_part("one_layer")
    class OneLayer(FeedForwardPart):
        def __init__(self, activation="relu"):
            self.activation = activation

        def build(self, config, **kwargs):
            return keras.layers.Dense(config.embedding_dim, self.activation, **kwargs)

        def parameters(self, config):
            return (config.embedding_dim + 1) * config.embedding_dim

    shape = {"vocab_size": 50, "embedding_dim": 32, "num_reasoning_blocks": 1}
    model = LanguageModel(**shape, block_pattern="attention+one_layer(activation=gelu)")
    ```
    """

    fields: ClassVar[tuple[str, ...]] = ()
    lora_layers: ClassVar[tuple[str, ...]] = ()

    def build(self, config: ModelConfig, **kwargs: Any) -> keras.Layer:
        """Returns the layer, not yet built.

        Args:
            config: The model's configuration, with the pattern's options for this part.
            **kwargs: `name` and `dtype` of the layer.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `build`")

    def parameters(self, config: ModelConfig) -> int:
        """Returns the number of weights of the layer, by formula: the layer may be too large to build."""
        raise NotImplementedError(f"{type(self).__name__} must define `parameters`")

    def active_parameters(self, config: ModelConfig) -> int:
        """Returns the weights that one token passes; fewer than all where experts are chosen."""
        return self.parameters(config)

    def counter_numbers(self, config: ModelConfig) -> int:
        """Returns the numbers that training sums up during a step besides gradients; they are no weights."""
        return 0

    def activations(self, config: ModelConfig, length: int) -> Activations | None:
        """Returns what is stored for the backward pass of rows of `length` tokens; None for not known."""
        return None

    def flops(self, config: ModelConfig, length: int) -> float:
        """Returns forward operations of a token in a row of `length`, beyond 2 for each active parameter."""
        return 0.0

    def describe(self, config: ModelConfig) -> str:
        """Returns the sizes in a few words, for `highnoon models --show`."""
        return ""

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        """Returns the settings that the layer's function depends on, defaults written out."""
        return {name: getattr(config, name) for name in self.fields}


class MixerPart(Part):
    """A mixer: tokens see one another through it. `build` returns a `highnoon.layers.Mixer`.

    Attributes:
        is_causal: As the mixer's own `is_causal`.
        is_whole_block: Whether the mixer has norms and a residual of its own, so that a reasoning block calls
            it with the residual stream and takes what it returns. It stands in a pattern without a
            feed-forward.
    """

    is_causal: bool = True
    is_whole_block: bool = False

    def cache_numbers(self, config: ModelConfig) -> int:
        """Returns the numbers in the cache of one sequence of `max_seq_length` tokens."""
        raise NotImplementedError(f"{type(self).__name__} must define `cache_numbers`")


class FeedForwardPart(Part):
    """A feed-forward: each token passes alone. `build` returns a layer from (b, t, d) to (b, t, d).

    The layer's `call` may take `segment_ids` (0 at padding) and `training`, and may return a `Report` after
    its output, see `highnoon.layers.Report`.
    """


class BoundPart(NamedTuple):
    """A part as a pattern names it, with the configuration that holds for it there.

    Args:
        name: The registered name.
        text: Name and options, as the pattern has them.
        part: The part.
        config: The model's configuration with the options for this part.
    """

    name: str
    text: str
    part: Any
    config: ModelConfig

    def __str__(self) -> str:
        return self.text
