"""`moe`: a mixture of experts."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from highnoon.config import ModelConfig
from highnoon.layers import GatedFeedForward, MoELayer, Report
from highnoon.layers.experts.routers.router_names import router_class
from highnoon.layers.experts.routing import METRICS
from highnoon.models.initializers import initializers
from highnoon.models.parts.part import Activations, FeedForwardPart

_MEANING = (
    "num_moe_experts",
    "num_experts_per_tok",
    "num_shared_experts",
    "router_type",
    "normalize_gates",
    "routed_scale",
    "num_expert_groups",
    "num_groups_per_tok",
)
_TRAINING = (
    "bias_update_rate",
    "capacity_factor",
    "aux_loss_weight",
    "router_z_loss_weight",
    "load_entropy_weight",
)


class MixtureOfExperts(FeedForwardPart):
    """`highnoon.layers.MoELayer`, which reports its loss and the metrics `router/...`.

    Attributes:
        upcycling_fields: What `highnoon.models.upcycle` lets a caller choose.
    """

    fields = (*_MEANING, "expert_dim", *_TRAINING)
    upcycling_fields = ("router_type", "num_expert_groups", "num_groups_per_tok", *_TRAINING)

    def build(self, config: ModelConfig, **kwargs: Any) -> ReportingMoELayer:
        names = {"num_moe_experts": "num_experts"}
        arguments = {names.get(name, name): getattr(config, name) for name in (*_MEANING, *_TRAINING)}
        return ReportingMoELayer(
            expert_dim=config.resolved_expert_dim, **arguments, **initializers(config), **kwargs
        )

    def parameters(self, config: ModelConfig) -> int:
        return self._parameters(config, config.num_moe_experts)

    def active_parameters(self, config: ModelConfig) -> int:
        return self._parameters(config, config.num_experts_per_tok)

    def _parameters(self, config: ModelConfig, num_experts: int) -> int:
        width = config.embedding_dim
        has_bias = router_class(config.router_type).has_bias
        router = (width + has_bias) * config.num_moe_experts
        return router + 3 * width * config.resolved_expert_dim * (num_experts + config.num_shared_experts)

    def activations(self, config: ModelConfig, length: int) -> Activations:
        """Of each choice what a dense feed-forward stores, gathered, and the expert's output twice.

        The kernels are copied, since they are unstacked for their products.
        """
        inner, choices = config.resolved_expert_dim, config.num_experts_per_tok
        shared = config.num_shared_experts * 4 * inner
        copies = 3 * config.num_moe_experts * config.embedding_dim * inner
        return Activations(0, choices * (3 * config.embedding_dim + 4 * inner) + shared, copies)

    def describe(self, config: ModelConfig) -> str:
        return (
            f"{config.num_experts_per_tok} of {config.num_moe_experts} experts, "
            f"inner {config.resolved_expert_dim}"
        )

    def meaning(self, config: ModelConfig) -> dict[str, Any]:
        return {
            "expert_dim": config.resolved_expert_dim,
            **{name: getattr(config, name) for name in _MEANING},
        }

    def copy_dense(self, dense: GatedFeedForward, layer: MoELayer) -> None:
        """Gives each expert the kernels of a dense feed-forward; the router keeps its own."""
        for name in ("gate", "up", "down"):
            kernels = getattr(layer.experts, f"{name}_kernel")
            kernels.assign(ops.broadcast_to(getattr(dense, name).kernel, kernels.shape))


@keras.saving.register_keras_serializable(package="highnoon")
class ReportingMoELayer(MoELayer):
    """A `MoELayer` that returns its loss and metrics as a `Report`, as a block's layers do."""

    def call(self, x, segment_ids=None, training=None):
        output, aux_loss, metrics = super().call(x, segment_ids, training, return_metrics=True)
        return output, Report(aux_loss, {f"router/{name}": value for name, value in metrics.items()})

    def compute_output_spec(self, x, segment_ids=None, training=None):
        scalar = keras.KerasTensor((), dtype="float32")
        output = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        return output, Report(scalar, {f"router/{name}": scalar for name in METRICS})
