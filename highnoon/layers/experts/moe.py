"""Mixture of experts."""

from __future__ import annotations

import math

import keras
from keras import ops

from highnoon.layers.experts.choose_experts import BIASED_ROUTERS, RouterOptions
from highnoon.layers.experts.expert_stack import ExpertStack
from highnoon.layers.experts.expert_tally import ExpertTally
from highnoon.layers.experts.moe_arguments import check_moe_arguments
from highnoon.layers.experts.router_losses import LossWeights
from highnoon.layers.experts.routing import METRICS, route
from highnoon.layers.gated_feed_forward import GatedFeedForward


@keras.saving.register_keras_serializable(package="highnoon")
class MoELayer(keras.layers.Layer):
    """Sends each token through a few of many feed-forward experts.

    ```
    s = softmax(x Wr)                                  router, in float32
    gates = routed_scale * s[chosen] / sum s[chosen]   chosen: the top-k of s, token by token
    y = sum over chosen e of gates_e (silu(x Wg_e) * (x Wu_e)) Wd_e   (+ shared experts)
    ```

    `router_type` says how experts are chosen. Every one decides by the token alone:

    - `"top_k"`: as above. Jiang et al. 2024, Mixtral (arXiv:2401.04088), section 2.1.
    - `"sigmoid"`: s = sigmoid(x Wr), chosen is the top-k of s + `expert_bias`, gates come from s. The
      bias of an expert with less than its even share of a training step's choices rises by
      `bias_update_rate`, that of one with more falls (`finish_step`). With `aux_loss_weight` and
      `router_z_loss_weight` 0 this is the routing free of auxiliary losses of Wang et al. 2024
      (arXiv:2408.15664), algorithm 1, as in DeepSeek-V3 (arXiv:2412.19437), section 2.1.2.
    - `"hash"`: the k largest of a random projection of the layer's input that is never trained, with
      equal gates and no losses. Not the hash of token ids of Roller et al. 2021 (arXiv:2106.04426),
      since a layer sees hidden states alone: the fixed random router of Chen et al. 2023, SMoE-Dropout
      (arXiv:2303.01610).
    - `"soft"`: all experts, weighted by s: the dense mixture of Jacobs et al. 1991, at the cost of
      `num_experts` feed-forwards a token. `num_experts_per_tok` must say so. Not Soft MoE (Puigcerver et
      al. 2023, arXiv:2308.00951), whose slots average over all tokens, later ones too.
    - `"causal_expert_choice"`: expert e takes each token with s_e + `expert_bias`_e > 0, at most
      2 `num_experts_per_tok` experts a token, perhaps none; the bias moves as with `"sigmoid"`, so that
      a token has `num_experts_per_tok` experts on average. Expert choice (Zhou et al. 2022,
      arXiv:2202.09368) with a threshold learnt from earlier steps in place of a comparison with later
      tokens; Sun et al. 2026 (arXiv:2603.11535) with the sign rule in place of a moving average.
    - `"expert_choice"` is refused: an expert that compares tokens lets a causal model see later ones.

    Args:
        num_experts: Experts, at least 1.
        expert_dim: Inner width of one expert.
        num_experts_per_tok: Experts that each token passes, between 1 and `num_experts`.
        router_type: See above.
        normalize_gates: Whether a token's gates add up to 1 before they are scaled. With one expert a
            token the gate is then 1 and the task teaches the router nothing: take False there.
        routed_scale: Factor on what the routed experts give, above 0.
        num_expert_groups: Groups of neighbouring experts, a divisor of `num_experts`; `"top_k"` and
            `"sigmoid"` alone.
        num_groups_per_tok: Groups that a token chooses from: those with the best expert, or with
            `"sigmoid"` those whose two best biased scores have the largest sum.
        bias_update_rate: Step of `expert_bias`, at least 0.
        num_shared_experts: Experts that every token passes beside the routed ones.
        capacity_factor: None drops nothing. A number above 0 lets one expert take at most
            `capacity_factor * t * num_experts_per_tok / num_experts` choices of a row while
            training, earlier tokens first; the rest pass as zeros. Inference drops nothing.
        aux_loss_weight: Weight of the balance loss.
        router_z_loss_weight: Weight of the z loss.
        load_entropy_weight: Weight of the loss that falls as the entropy of the mean load rises; see
            `highnoon.layers.experts.router_losses` for all three.
        dispatch: `"sorted"` (one product per expert's slice of the sorted tokens, dynamic shapes,
            TensorFlow outside XLA), `"capacity"` (one batched product over a buffer of fixed
            size), or `"auto"`, which takes the first where it can run. Equal in result.
        kernel_initializer: Of the router and of each expert's gate and up kernels.
        output_initializer: Of each expert's down kernel; None takes `kernel_initializer`.

    Inputs: x (b, t, d); segment_ids (b, t), 0 or False marks padding, which passes no routed expert and
        counts in no loss and no metric; None for no padding.
    Returns: output (b, t, d) and aux_loss, a float32 scalar: the router's losses, a mean over
        tokens that is additive over rows. With `return_metrics=True` also a dict of scalars:
        `load_entropy` of the mean load and `token_entropy`, the mean entropy of a token's
        probabilities, both in [0, 1]; `max_load` (busiest expert over an even share) and
        `drop_fraction` of the choices.

    Raises:
        ValueError: an argument out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import MoELayer

    output, aux_loss = MoELayer(num_experts=4, expert_dim=16)(np.ones((2, 5, 32), "float32"))
    ```

    Shazeer et al. 2017 (arXiv:1701.06538).
    """

    def __init__(
        self,
        num_experts: int = 8,
        expert_dim: int = 1024,
        num_experts_per_tok: int = 2,
        router_type: str = "top_k",
        normalize_gates: bool = True,
        routed_scale: float = 1.0,
        num_expert_groups: int = 1,
        num_groups_per_tok: int = 1,
        bias_update_rate: float = 1e-3,
        num_shared_experts: int = 0,
        capacity_factor: float | None = None,
        aux_loss_weight: float = 0.01,
        router_z_loss_weight: float = 1e-3,
        load_entropy_weight: float = 0.0,
        dispatch: str = "auto",
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.expert_dim = expert_dim
        self.num_experts_per_tok = num_experts_per_tok
        self.router_type = router_type
        self.normalize_gates = normalize_gates
        self.routed_scale = routed_scale
        self.num_expert_groups = num_expert_groups
        self.num_groups_per_tok = num_groups_per_tok
        self.bias_update_rate = bias_update_rate
        self.num_shared_experts = num_shared_experts
        self.capacity_factor = capacity_factor
        self.aux_loss_weight = aux_loss_weight
        self.router_z_loss_weight = router_z_loss_weight
        self.load_entropy_weight = load_entropy_weight
        self.dispatch = dispatch
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self.expert_bias = self._tally = None
        check_moe_arguments(self)

    def build(self, x_shape) -> None:
        width, experts, inner = x_shape[-1], self.num_experts, self.expert_dim
        down_initializer = self.output_initializer or self.kernel_initializer
        # The router keeps float32 under every policy: rounded logits change which expert wins.
        self.router = self.add_weight(
            (width, experts),
            initializer=_fresh(self.kernel_initializer),
            name="router",
            dtype="float32",
            autocast=False,
            trainable=self.router_type != "hash",
        )
        if self.router_type in BIASED_ROUTERS:
            is_threshold = self.router_type == "causal_expert_choice"
            self.expert_bias = self.add_weight(
                (experts,),
                initializer=keras.initializers.Constant(-1 / experts if is_threshold else 0.0),
                name="expert_bias",
                dtype="float32",
                autocast=False,
                trainable=False,
            )
            self._tally = ExpertTally(experts)
        self.experts = ExpertStack(
            experts,
            inner,
            kernel_initializer=_fresh(self.kernel_initializer),
            output_initializer=_fresh(down_initializer),
            dtype=self.dtype_policy,
            name="experts",
        )
        self.experts.build(x_shape)
        self.shared_expert = None
        if self.num_shared_experts:
            self.shared_expert = GatedFeedForward(
                self.num_shared_experts * inner,
                kernel_initializer=_fresh(self.kernel_initializer),
                output_initializer=_fresh(down_initializer),
                dtype=self.dtype_policy,
                name="shared_expert",
            )
            self.shared_expert.build(x_shape)

    def call(self, x, segment_ids=None, training=None, return_metrics=False):
        is_static = not self._runs_sorted()
        capacity = self._capacity(x.shape[1]) if training else None
        routing = self._route(x, segment_ids, capacity, is_static, training)
        if is_static:
            chosen = self.experts(x, routing.expert_ids, routing.places, capacity=capacity)
        else:
            chosen = self.experts(x, routing.expert_ids)
        output = ops.einsum("btkd,btk->btd", chosen, ops.cast(routing.gates, chosen.dtype))
        if self.shared_expert is not None:
            output = output + self.shared_expert(x)
        if return_metrics:
            return output, routing.aux_loss, routing.metrics
        return output, routing.aux_loss

    @property
    def step_variables(self) -> list[keras.Variable]:
        """What training calls add to and `finish_step` empties; no weights."""
        return [] if self._tally is None else [self._tally.counts]

    def finish_step(self) -> None:
        """Moves `expert_bias` by the load of the training calls since the last time.

        A training step calls this once, after the gradients; other routers have nothing to do.
        """
        if self._tally is None:
            return
        load, num_tokens = self._tally.take()
        # The even share is num_experts_per_tok * num_tokens / num_experts; whole numbers compare exactly.
        missing = self.num_experts_per_tok * num_tokens - self.num_experts * load
        self.expert_bias.assign_add(self.bias_update_rate * ops.sign(missing))

    def _route(self, x, segment_ids, capacity: int | None, with_places: bool, training):
        is_token = (
            ops.ones(ops.shape(x)[:2], "float32")
            if segment_ids is None
            else ops.cast(ops.cast(segment_ids, "int32") > 0, "float32")
        )
        logits = ops.matmul(ops.cast(x, "float32"), self.router)
        bias = None if self.expert_bias is None else ops.convert_to_tensor(self.expert_bias)
        is_hash = self.router_type == "hash"
        weights = (
            LossWeights()
            if is_hash
            else LossWeights(self.aux_loss_weight, self.router_z_loss_weight, self.load_entropy_weight)
        )
        routing = route(logits, is_token, self._options(), weights, bias, capacity, with_places)
        if training and self.trainable and self._tally is not None:
            self._tally.add(routing.load, ops.sum(is_token))
        return routing

    def _options(self) -> RouterOptions:
        return RouterOptions(
            self.router_type,
            self.num_experts_per_tok,
            self.normalize_gates,
            self.routed_scale,
            self.num_expert_groups,
            self.num_groups_per_tok,
        )

    def _runs_sorted(self) -> bool:
        if self.dispatch != "auto" or keras.backend.backend() != "tensorflow":
            return self.dispatch == "sorted"
        from highnoon.layers.experts.sorted_experts import is_compiled_by_xla

        return not is_compiled_by_xla()

    def _capacity(self, length: int | None) -> int | None:
        if self.capacity_factor is None:
            return None
        if length is None:
            raise ValueError(
                "`capacity_factor` needs a length that is known when the graph is made; "
                "give the input a fixed length or leave `capacity_factor` None"
            )
        share = self.capacity_factor * length * self.num_experts_per_tok / self.num_experts
        return min(length, max(1, math.ceil(share)))

    def compute_output_spec(self, x, segment_ids=None, training=None, return_metrics=False):
        output = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        scalar = keras.KerasTensor((), dtype="float32")
        if return_metrics:
            return output, scalar, {name: keras.KerasTensor((), dtype="float32") for name in METRICS}
        return output, scalar

    def get_config(self):
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "expert_dim": self.expert_dim,
            "num_experts_per_tok": self.num_experts_per_tok,
            "router_type": self.router_type,
            "normalize_gates": self.normalize_gates,
            "routed_scale": self.routed_scale,
            "num_expert_groups": self.num_expert_groups,
            "num_groups_per_tok": self.num_groups_per_tok,
            "bias_update_rate": self.bias_update_rate,
            "num_shared_experts": self.num_shared_experts,
            "capacity_factor": self.capacity_factor,
            "aux_loss_weight": self.aux_loss_weight,
            "router_z_loss_weight": self.router_z_loss_weight,
            "load_entropy_weight": self.load_entropy_weight,
            "dispatch": self.dispatch,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "output_initializer": keras.initializers.serialize(self.output_initializer)
            if self.output_initializer
            else None,
        }


def _fresh(initializer):
    """A copy with a seed of its own: one seeded initializer object repeats its values."""
    return initializer.__class__.from_config(initializer.get_config())
