"""Mixture of experts."""

from __future__ import annotations

import math

import keras
from keras import ops

from highnoon.layers.expert_stack import ExpertStack
from highnoon.layers.gated_feed_forward import GatedFeedForward
from highnoon.layers.routing import route

_DISPATCHES = ("auto", "sorted", "capacity")


@keras.saving.register_keras_serializable(package="highnoon")
class MoELayer(keras.layers.Layer):
    """Sends each token through its `num_experts_per_tok` best feed-forward experts.

    ```
    p = softmax(x Wr)                                  router, in float32
    gates = p[chosen] / sum p[chosen]                  chosen: the top-k of p, token by token
    y = sum over chosen e of gates_e (silu(x Wg_e) * (x Wu_e)) Wd_e   (+ shared experts)
    ```

    Args:
        num_experts: Experts, at least 1.
        expert_dim: Inner width of one expert.
        num_experts_per_tok: Experts that each token passes, between 1 and `num_experts`.
        router_type: `"top_k"`. `"expert_choice"` is refused: an expert that chooses its tokens
            compares them with later ones, which a causal model must not see.
        num_shared_experts: Experts that every token passes beside the routed ones.
        capacity_factor: None drops nothing. A number above 0 lets one expert take at most
            `capacity_factor * t * num_experts_per_tok / num_experts` choices of a row while
            training, earlier tokens first; the rest pass as zeros. Inference drops nothing.
        aux_loss_weight: Weight of the balance loss.
        router_z_loss_weight: Weight of the z loss.
        dispatch: `"sorted"` (one product per expert's slice of the sorted tokens, dynamic shapes,
            TensorFlow outside XLA), `"capacity"` (one batched product over a buffer of fixed
            size), or `"auto"`, which takes the first where it can run. Equal in result.
        kernel_initializer: Of the router and of each expert's gate and up kernels.
        output_initializer: Of each expert's down kernel; None takes `kernel_initializer`.

    Inputs: x (b, t, d); segment_ids (b, t), 0 marks padding, which passes no routed expert and
        counts in no loss and no metric; None for no padding.
    Returns: output (b, t, d) and aux_loss, a float32 scalar: both router losses, a mean over
        tokens that is additive over rows. With `return_metrics=True` also a dict of scalars:
        `load_entropy` of the mean load in [0, 1], `max_load` (busiest expert over an even share)
        and `drop_fraction` of the choices.

    Raises:
        ValueError: an argument out of its range.

    Example:

    ```python
    import numpy as np
    from highnoon.layers import MoELayer

    output, aux_loss = MoELayer(num_experts=4, expert_dim=16)(np.ones((2, 5, 32), "float32"))
    ```

    Shazeer et al. 2017 (arXiv:1701.06538); routing as Jiang et al. 2024, Mixtral
    (arXiv:2401.04088), section 2.1.
    """

    def __init__(
        self,
        num_experts: int = 8,
        expert_dim: int = 1024,
        num_experts_per_tok: int = 2,
        router_type: str = "top_k",
        num_shared_experts: int = 0,
        capacity_factor: float | None = None,
        aux_loss_weight: float = 0.01,
        router_z_loss_weight: float = 1e-3,
        dispatch: str = "auto",
        kernel_initializer="glorot_uniform",
        output_initializer=None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        _check_router(router_type)
        if expert_dim < 1 or num_shared_experts < 0:
            raise ValueError(
                "`expert_dim` must be at least 1 and `num_shared_experts` not negative; "
                f"received {expert_dim} and {num_shared_experts}"
            )
        if not 1 <= num_experts_per_tok <= num_experts:
            raise ValueError(
                f"`num_experts_per_tok` must be between 1 and num_experts={num_experts}; "
                f"received {num_experts_per_tok}"
            )
        if capacity_factor is not None and capacity_factor <= 0:
            raise ValueError(
                f"`capacity_factor` must be above 0, or None for no drops; received {capacity_factor}"
            )
        if dispatch not in _DISPATCHES:
            raise ValueError(f"`dispatch` must be one of {', '.join(_DISPATCHES)}; received {dispatch!r}")
        if dispatch == "sorted" and keras.backend.backend() != "tensorflow":
            raise ValueError(
                "`dispatch=\"sorted\"` has dynamic shapes and runs under TensorFlow alone; "
                f"take \"capacity\" or \"auto\" under {keras.backend.backend()}"
            )
        self.num_experts = num_experts
        self.expert_dim = expert_dim
        self.num_experts_per_tok = num_experts_per_tok
        self.router_type = router_type
        self.num_shared_experts = num_shared_experts
        self.capacity_factor = capacity_factor
        self.aux_loss_weight = aux_loss_weight
        self.router_z_loss_weight = router_z_loss_weight
        self.dispatch = dispatch
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

    def build(self, x_shape) -> None:
        width, experts, inner = x_shape[-1], self.num_experts, self.expert_dim
        down_initializer = self.output_initializer or self.kernel_initializer
        # The router keeps float32 under every policy: rounded logits change which expert wins.
        self.router = self.add_weight(
            (width, experts), initializer=_fresh(self.kernel_initializer), name="router",
            dtype="float32", autocast=False,
        )
        self.experts = ExpertStack(
            experts, inner, kernel_initializer=_fresh(self.kernel_initializer),
            output_initializer=_fresh(down_initializer), dtype=self.dtype_policy, name="experts",
        )
        self.experts.build(x_shape)
        self.shared_expert = None
        if self.num_shared_experts:
            self.shared_expert = GatedFeedForward(
                self.num_shared_experts * inner, kernel_initializer=_fresh(self.kernel_initializer),
                output_initializer=_fresh(down_initializer), dtype=self.dtype_policy, name="shared_expert",
            )
            self.shared_expert.build(x_shape)

    def call(self, x, segment_ids=None, training=None, return_metrics=False):
        is_static = not self._runs_sorted()
        capacity = self._capacity(x.shape[1]) if training else None
        routing = self._route(x, segment_ids, capacity, with_places=is_static)
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

    def _route(self, x, segment_ids, capacity: int | None, with_places: bool):
        is_token = (
            ops.ones(ops.shape(x)[:2], "float32") if segment_ids is None
            else ops.cast(ops.convert_to_tensor(segment_ids) > 0, "float32")
        )
        logits = ops.matmul(ops.cast(x, "float32"), self.router)
        return route(
            logits, is_token, self.num_experts_per_tok, capacity, with_places,
            self.aux_loss_weight, self.router_z_loss_weight,
        )

    def _runs_sorted(self) -> bool:
        if self.dispatch != "auto" or keras.backend.backend() != "tensorflow":
            return self.dispatch == "sorted"
        from highnoon.layers.sorted_experts import is_compiled_by_xla

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
            names = ("load_entropy", "max_load", "drop_fraction")
            return output, scalar, {name: keras.KerasTensor((), dtype="float32") for name in names}
        return output, scalar

    def get_config(self):
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "expert_dim": self.expert_dim,
            "num_experts_per_tok": self.num_experts_per_tok,
            "router_type": self.router_type,
            "num_shared_experts": self.num_shared_experts,
            "capacity_factor": self.capacity_factor,
            "aux_loss_weight": self.aux_loss_weight,
            "router_z_loss_weight": self.router_z_loss_weight,
            "dispatch": self.dispatch,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "output_initializer": keras.initializers.serialize(self.output_initializer)
            if self.output_initializer else None,
        }


def _check_router(router_type: str) -> None:
    if router_type == "expert_choice":
        raise ValueError(
            "`router_type=\"expert_choice\"` lets an expert compare a token with later ones, so a causal "
            "model refuses it; take \"top_k\""
        )
    if router_type != "top_k":
        raise ValueError(f"`router_type` must be \"top_k\"; received {router_type!r}")


def _fresh(initializer):
    """A copy with a seed of its own: one seeded initializer object repeats its values."""
    return initializer.__class__.from_config(initializer.get_config())
