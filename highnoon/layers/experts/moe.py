"""Mixture of experts."""

from __future__ import annotations

import math

import keras
from keras import ops

from highnoon.config import require_count, require_number
from highnoon.layers.configured_layer import ConfiguredLayer
from highnoon.layers.experts.expert_stack import ExpertStack
from highnoon.layers.experts.expert_tally import ExpertTally
from highnoon.layers.experts.router_losses import LossWeights
from highnoon.layers.experts.routers.router import Router
from highnoon.layers.experts.routers.router_names import router_of
from highnoon.layers.experts.routing import METRICS, route
from highnoon.layers.gated_feed_forward import GatedFeedForward

_DISPATCHES = ("auto", "sorted", "capacity")
_ROUTER_DEFAULTS = {
    "router_type": "top_k",
    "num_experts_per_tok": 2,
    "normalize_gates": True,
    "routed_scale": 1.0,
    "num_expert_groups": 1,
    "num_groups_per_tok": 1,
}


@keras.saving.register_keras_serializable(package="highnoon")
class MoELayer(ConfiguredLayer):
    """Sends each token through a few of many feed-forward experts.

    ```
    s = softmax(x Wr)                                  router, in float32
    gates = routed_scale * s[chosen] / sum s[chosen]   chosen: the top-k of s, token by token
    y = sum over chosen e of gates_e (silu(x Wg_e) * (x Wu_e)) Wd_e   (+ shared experts)
    ```

    `router_type` says how experts are chosen, always by the token alone; see the class of each in
    `highnoon.layers.experts.routers`:

    - `"top_k"` (`TopKRouter`): as above.
    - `"sigmoid"` (`SigmoidRouter`): s = sigmoid(x Wr); chosen is the top-k of s + `expert_bias`. The bias of
      an expert with less than an even load in a training step rises by `bias_update_rate`, that of one with
      more falls (`finish_step`). With `aux_loss_weight` and `router_z_loss_weight` 0 this is routing without
      auxiliary losses.
    - `"hash"` (`HashRouter`): a random projection that is never trained, with equal gates and no losses.
    - `"soft"` (`SoftRouter`): all experts, weighted by s; `num_experts_per_tok` must say so.
    - `"causal_expert_choice"` (`CausalExpertChoiceRouter`): expert e takes each token with
      s_e + `expert_bias`_e > 0; the bias moves as with `"sigmoid"`.
    - `"expert_choice"` is refused: an expert that compares tokens lets a causal model see later ones.

    Args:
        num_experts: Experts, at least 1.
        expert_dim: Inner width of one expert.
        num_experts_per_tok: Experts that each token passes, between 1 and `num_experts`.
        router_type: See above.
        normalize_gates: Whether a token's gates add up to 1 before they are scaled. With one expert a
            token the gate is then 1 and the router gets no gradient from the task: use False there.
        routed_scale: Factor on what the routed experts give, above 0.
        num_expert_groups: Groups of neighboring experts, a divisor of `num_experts`; `"top_k"` and
            `"sigmoid"` alone.
        num_groups_per_tok: Groups that a token chooses from: those with the best expert, or with
            `"sigmoid"` those whose two best biased scores have the largest sum.
        bias_update_rate: Step of `expert_bias`, at least 0.
        num_shared_experts: Experts that every token passes in addition to the routed ones.
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
        router: A `Router` of one's own in place of `router_type` and the arguments of routers above, which
            then are the router's.

    Inputs:
        x (b, t, d); segment_ids (b, t), 0 or False marks padding, which passes no routed expert and counts
        in no loss and no metric; None for no padding.

    Returns:
        output (b, t, d) and aux_loss, a float32 scalar: the router's losses, a mean over tokens that is
        additive over rows. With `return_metrics=True` also a dict of scalars: `load_entropy` of the mean load
        and `token_entropy`, the mean entropy of a token's probabilities, both in [0, 1]; `max_load` (load of
        the busiest expert over an even load) and `drop_fraction` of the choices.

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
        router: Router | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        for name, count in (("num_experts", num_experts), ("expert_dim", expert_dim)):
            require_count(name, count)
        require_count("num_shared_experts", num_shared_experts, least=0)
        given = {
            "num_experts_per_tok": num_experts_per_tok,
            "normalize_gates": normalize_gates,
            "routed_scale": routed_scale,
            "num_expert_groups": num_expert_groups,
            "num_groups_per_tok": num_groups_per_tok,
        }
        self.routing_rule = router_of(router, router_type, given)
        if router is not None:
            _require_agreement(self.routing_rule, {**given, "router_type": router_type})
        self.routing_rule.check(num_experts, capacity_factor)
        if capacity_factor is not None:
            require_number("capacity_factor", capacity_factor, above=0)
        for name, weight in (
            ("bias_update_rate", bias_update_rate),
            ("aux_loss_weight", aux_loss_weight),
            ("router_z_loss_weight", router_z_loss_weight),
            ("load_entropy_weight", load_entropy_weight),
        ):
            require_number(name, weight, least=0)
            setattr(self, name, weight)
        _check_dispatch(dispatch)
        self.num_experts = num_experts
        self.expert_dim = expert_dim
        self.num_shared_experts = num_shared_experts
        self.capacity_factor = capacity_factor
        self.dispatch = dispatch
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self.expert_bias = self._tally = None

    @property
    def router_type(self) -> str:
        return self.routing_rule.name

    @property
    def num_experts_per_tok(self) -> int:
        return self.routing_rule.num_experts_per_tok

    @property
    def normalize_gates(self) -> bool:
        return self.routing_rule.normalize_gates

    @property
    def routed_scale(self) -> float:
        return self.routing_rule.routed_scale

    @property
    def num_expert_groups(self) -> int:
        return self.routing_rule.num_expert_groups

    @property
    def num_groups_per_tok(self) -> int:
        return self.routing_rule.num_groups_per_tok

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
            trainable=self.routing_rule.is_trained,
        )
        if self.routing_rule.has_bias:
            self.expert_bias = self.add_weight(
                (experts,),
                initializer=keras.initializers.Constant(self.routing_rule.initial_bias(experts)),
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
            chosen = self.experts(x, routing.expert_ids, routing.positions, capacity=capacity)
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
        """Counters that training calls add to and `finish_step` resets; no weights."""
        return [] if self._tally is None else [self._tally.counts]

    def finish_step(self) -> None:
        """Updates `expert_bias` by the load of the training calls since the last update.

        A training step calls this once, after the gradients; routers without a bias have nothing to do.
        """
        if self._tally is None:
            return
        load, num_tokens = self._tally.take()
        # An even load is num_experts_per_tok * num_tokens / num_experts; integers compare exactly.
        missing = self.num_experts_per_tok * num_tokens - self.num_experts * load
        self.expert_bias.assign_add(self.bias_update_rate * ops.sign(missing))

    def _route(self, x, segment_ids, capacity: int | None, with_positions: bool, training):
        is_token = (
            ops.ones(ops.shape(x)[:2], "float32")
            if segment_ids is None
            else ops.cast(ops.cast(segment_ids, "int32") > 0, "float32")
        )
        logits = ops.matmul(ops.cast(x, "float32"), self.router)
        bias = None if self.expert_bias is None else ops.convert_to_tensor(self.expert_bias)
        weights = LossWeights()
        if self.routing_rule.is_trained:
            weights = LossWeights(self.aux_loss_weight, self.router_z_loss_weight, self.load_entropy_weight)
        routing = route(logits, is_token, self.routing_rule, weights, bias, capacity, with_positions)
        if training and self.trainable and self._tally is not None:
            self._tally.add(routing.load, ops.sum(is_token))
        return routing

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
        most = self.capacity_factor * length * self.num_experts_per_tok / self.num_experts
        return min(length, max(1, math.ceil(most)))

    def compute_output_spec(self, x, segment_ids=None, training=None, return_metrics=False):
        output = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        scalar = keras.KerasTensor((), dtype="float32")
        if return_metrics:
            return output, scalar, {name: keras.KerasTensor((), dtype="float32") for name in METRICS}
        return output, scalar

    def get_config(self):
        return {**super().get_config(), **{name: getattr(self, name) for name in _ROUTER_DEFAULTS}}


def _require_agreement(router: Router, given: dict[str, object]) -> None:
    """With a router, its arguments are given to it and not to the layer."""
    for name, value in given.items():
        of_router = router.name if name == "router_type" else getattr(router, name)
        if value not in (_ROUTER_DEFAULTS[name], of_router):
            raise ValueError(
                f"`{name}` must be given to `router`, whose value is {of_router!r}, and not to the layer; "
                f"received {value!r}"
            )


def _check_dispatch(dispatch: str) -> None:
    if dispatch not in _DISPATCHES:
        raise ValueError(f"`dispatch` must be one of {', '.join(_DISPATCHES)}; received {dispatch!r}")
    if dispatch == "sorted" and keras.backend.backend() != "tensorflow":
        raise ValueError(
            '`dispatch="sorted"` has dynamic shapes and runs under TensorFlow alone; '
            f'take "capacity" or "auto" under {keras.backend.backend()}'
        )


def _fresh(initializer):
    """A copy with a seed of its own: one seeded initializer object repeats its values."""
    return initializer.__class__.from_config(initializer.get_config())
