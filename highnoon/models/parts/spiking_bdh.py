"""`spiking_bdh`: the block of Dragon Hatching with leaky integrate-and-fire neurons."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import ModelConfig
from highnoon.layers.hatching import SpikingBDHLayer
from highnoon.models.parts.bdh import INITIALIZER_RANGE, Bdh
from highnoon.models.parts.part import Activations


class SpikingBdh(Bdh):
    """`highnoon.layers.hatching.SpikingBDHLayer`, a complete block with norms and a residual of its own.

    The heads and the dropout are the model's, as of `bdh`. `create_model` calibrates each level, so that its
    neurons fire at `sparsity_target`.

    Args:
        multiplier: Neurons for each feature of the model, over all heads.
        tau_mem: Time constant of the membrane, in tokens.
        tau_syn: Time constant of the synaptic current, in tokens.
        v_threshold: The potential above which a neuron fires.
        v_reset: The potential after a spike.
        reset: `"hard"` or `"soft"`.
        surrogate: `"fast_sigmoid"` or `"arctan"`.
        sparsity_target: Fraction of neurons that should fire at a token.
        sparsity_weight: Weight of the sparsity loss.
        gain_update_rate: Exponent with which the gains follow the target after each training step.
        excitatory_ratio: Fraction of neurons with positive outgoing weights, the others' are negative; None
            for weights of both signs.
        trace_decay: What is left of the fast weights after a token; None for all.
        scale_free_gamma: Exponent of the number of inputs that a neuron starts with; None for all inputs.
        stdp: Whether spike timing changes the encoder after each training step.
        tau_plus: Time constant of potentiation, in tokens.
        tau_minus: Time constant of depression, in tokens.
        a_plus: Potentiation of a pair of spikes.
        a_minus: Depression of a pair.
        stdp_rate: Factor on the mean over tokens.
        stdp_clip: Largest change of one weight in a step.
        form: How training computes attention: `"quadratic"`, `"chunked"` or `"auto"`.
        chunk_length: Tokens in one chunk.
    """

    def __init__(
        self,
        multiplier: int = 128,
        tau_mem: float = 10.0,
        tau_syn: float = 5.0,
        v_threshold: float = 1.0,
        v_reset: float = 0.0,
        reset: str = "hard",
        surrogate: str = "fast_sigmoid",
        sparsity_target: float = 0.1,
        sparsity_weight: float = 0.001,
        gain_update_rate: float = 0.1,
        excitatory_ratio: float | None = None,
        trace_decay: float | None = None,
        scale_free_gamma: float | None = None,
        stdp: bool = False,
        tau_plus: float = 20.0,
        tau_minus: float = 20.0,
        a_plus: float = 0.01,
        a_minus: float = 0.0105,
        stdp_rate: float = 0.01,
        stdp_clip: float = 1e-3,
        form: str = "auto",
        chunk_length: int = 128,
    ) -> None:
        options = dict(locals())
        self.options = {name: options[name] for name in options if name not in ("self", "__class__")}
        super().__init__(multiplier, form, chunk_length)
        # The layer checks the options, so that a pattern with a bad one is refused before a model is built.
        # Zeros take no seed: a random initializer would draw one, and other weights would start otherwise.
        SpikingBDHLayer(num_heads=1, kernel_initializer="zeros", **self.options)

    def build(self, config: ModelConfig, **kwargs: Any) -> SpikingBDHLayer:
        deviation = config.initializer_range or INITIALIZER_RANGE
        return SpikingBDHLayer(
            num_heads=config.resolved_num_heads,
            dropout=config.dropout,
            num_levels=self.num_levels(config),
            kernel_initializer=keras.initializers.RandomNormal(stddev=deviation),
            **self.options,
            **kwargs,
        )

    def num_levels(self, config: ModelConfig) -> int:
        """Returns how many times one layer is applied."""
        return config.num_reasoning_blocks if config.share_blocks else 1

    def parameters(self, config: ModelConfig) -> int:
        """Three kernels, and a gain for each level."""
        return super().parameters(config) + self.num_levels(config)

    def cache_numbers(self, config: ModelConfig) -> int:
        """That of `bdh`, and the two states of each neuron."""
        return super().cache_numbers(config) + 2 * self.neurons(config)

    def counter_numbers(self, config: ModelConfig) -> int:
        """The sums of spike timing for each weight of the encoder, and their tokens; spikes and tokens of
        each level for its gain."""
        spike_timing = self.neurons(config) * config.embedding_dim + 1 if self.options["stdp"] else 0
        return spike_timing + (2 * self.num_levels(config) if self.options["gain_update_rate"] else 0)

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """Drive, potential, spikes, spikes with their drive before and after the rotation in float32; what
        they recall and the product of both in the compute dtype."""
        neurons, heads, width = self.neurons(config), config.resolved_num_heads, config.embedding_dim
        products = heads * length if self.is_quadratic(config, length) else 0
        dropped = 2 * neurons if config.dropout else 0
        wide = 5 * neurons + products + (3 * heads + 8) * width
        return Activations(wide, 2 * neurons + dropped + (heads + 2) * width)

    def flops(self, config: ModelConfig, length: int) -> float:
        """Those of `bdh`, and ten for the membrane of each neuron."""
        return super().flops(config, length) + 10.0 * self.neurons(config)

    def describe(self, config: ModelConfig) -> str:
        return super().describe(config).replace("neurons", "spiking neurons")

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        names = ("multiplier", "tau_mem", "tau_syn", "v_threshold", "v_reset", "reset", "excitatory_ratio")
        options = {name: self.options[name] for name in (*names, "trace_decay")}
        return {"num_heads": config.resolved_num_heads, "spiking_bdh": options}
