"""The names of mixers and feed-forwards in block patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from highnoon.config import ConfigError
from highnoon.models.parts.part import FeedForwardPart, MixerPart
from highnoon.models.registry import Registry

_Part = TypeVar("_Part", bound="type[MixerPart] | type[FeedForwardPart]")

PARTS: Registry[Any] = Registry(
    "mixer or feed-forward",
    "highnoon.parts",
    {
        "attention": "highnoon.models.parts.attention:Attention",
        "sliding_attention": "highnoon.models.parts.sliding_attention:SlidingAttention",
        "convolved_attention": "highnoon.models.parts.convolved_attention:Convolved",
        "latent_attention": "highnoon.models.parts.latent_attention:Latent",
        "mamba": "highnoon.models.parts.mamba:Mamba",
        "mamba2": "highnoon.models.parts.mamba2:Mamba2",
        "gated_delta_rule": "highnoon.models.parts.gated_delta_rule:DeltaRule",
        "bdh": "highnoon.models.parts.bdh:Bdh",
        "spiking_bdh": "highnoon.models.parts.spiking_bdh:SpikingBdh",
        "mlp": "highnoon.models.parts.mlp:Mlp",
        "plain_mlp": "highnoon.models.parts.plain_mlp:PlainMlp",
        "moe": "highnoon.models.parts.moe:MixtureOfExperts",
    },
)


def register_part(name: str) -> Callable[[_Part], _Part]:
    """Registers a mixer or feed-forward under the name that block patterns use.

    An installed package may register it without being imported, by an entry point in the group
    `highnoon.parts`: `running_mean = my_package.running_mean:RunningMeanPart`.

    Args:
        name: Letters, digits and underscores.

    Returns:
        A decorator of a subclass of `MixerPart` or `FeedForwardPart`.

    Raises:
        ConfigError: another part has that name, or the class is no part.

    Example:

    ```python
    from keras import ops
    from highnoon.layers import Mixer
    from highnoon.models import LanguageModel
    from highnoon.models.parts import MixerPart, register_part

    class Shift(Mixer):
        def build(self, x_shape):
            self.scale = self.add_weight((x_shape[-1],), initializer="ones", name="scale")

        def call(self, x, segment_ids=None, positions=None, training=None):
            before = ops.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]
            if segment_ids is not None:
                last = ops.pad(segment_ids, [[0, 0], [1, 0]])[:, :-1]
                before = ops.where((segment_ids == last)[..., None], before, 0.0)
            return self.scale * before

    @register_part("shift")
    class ShiftPart(MixerPart):
        def build(self, config, **kwargs):
            return Shift(**kwargs)

        def parameters(self, config):
            return config.embedding_dim

        def cache_numbers(self, config):
            return config.embedding_dim

    model = LanguageModel(
        vocab_size=50, embedding_dim=32, num_reasoning_blocks=1, block_pattern="shift+mlp, attention+mlp"
    )
    ```
    """

    def register(cls: _Part) -> _Part:
        if not (isinstance(cls, type) and issubclass(cls, (MixerPart, FeedForwardPart))):
            raise ConfigError(
                f"`{name}` must be a subclass of MixerPart or FeedForwardPart; received {cls!r}"
            )
        PARTS.register(name, cls)
        return cls

    return register


def mixer_names() -> list[str]:
    """Returns the names of all mixers, complete blocks among them."""
    return [name for name in PARTS.names() if issubclass(PARTS[name], MixerPart)]


def whole_block_names() -> list[str]:
    """Returns the names of the mixers that are complete blocks and take no feed-forward."""
    return [name for name in mixer_names() if PARTS[name].is_whole_block]


def feed_forward_names() -> list[str]:
    """Returns the names of all feed-forwards."""
    return [name for name in PARTS.names() if issubclass(PARTS[name], FeedForwardPart)]
