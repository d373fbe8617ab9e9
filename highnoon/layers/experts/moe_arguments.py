"""Which arguments of a mixture of experts go together."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.config import require_count, require_number
from highnoon.layers.experts.choose_experts import GROUPED_ROUTERS, ROUTERS

_DISPATCHES = ("auto", "sorted", "capacity")


def check_moe_arguments(layer: Any) -> None:
    """Raises ValueError where an argument of a `MoELayer` is out of its range."""
    _check_experts(layer)
    _check_router(layer)
    _check_dispatch(layer.dispatch)


def _check_experts(layer: Any) -> None:
    for name in ("num_experts", "expert_dim", "num_expert_groups"):
        require_count(name, getattr(layer, name))
    for name in ("num_experts_per_tok", "num_groups_per_tok", "num_shared_experts"):
        require_count(name, getattr(layer, name), least=0)
    if not 1 <= layer.num_experts_per_tok <= layer.num_experts:
        raise ValueError(
            f"`num_experts_per_tok` must be between 1 and num_experts={layer.num_experts}; "
            f"received {layer.num_experts_per_tok}"
        )
    groups, chosen = layer.num_expert_groups, layer.num_groups_per_tok
    if layer.num_experts % groups:
        raise ValueError(
            f"`num_expert_groups` must divide num_experts={layer.num_experts}; received {groups}"
        )
    if not 1 <= chosen <= groups:
        raise ValueError(
            f"`num_groups_per_tok` must be between 1 and num_expert_groups={groups}; received {chosen}"
        )
    in_reach = chosen * layer.num_experts // groups
    if layer.num_experts_per_tok > in_reach:
        raise ValueError(
            f"`num_experts_per_tok` must be at most the {in_reach} experts of num_groups_per_tok={chosen} "
            f"groups; received {layer.num_experts_per_tok}"
        )


def _check_router(layer: Any) -> None:
    kind, top_k, capacity = layer.router_type, layer.num_experts_per_tok, layer.capacity_factor
    if kind == "expert_choice":
        raise ValueError(
            '`router_type="expert_choice"` lets an expert compare a token with later ones, so a causal '
            'model refuses it; take "causal_expert_choice" or "top_k"'
        )
    if kind not in ROUTERS:
        raise ValueError(f"`router_type` must be one of {', '.join(ROUTERS)}; received {kind!r}")
    if layer.num_expert_groups > 1 and kind not in GROUPED_ROUTERS:
        raise ValueError(
            f"`num_expert_groups` above 1 needs a router of {', '.join(GROUPED_ROUTERS)}; received {kind!r}"
        )
    if kind == "soft" and (top_k != layer.num_experts or capacity is not None):
        raise ValueError(
            '`router_type="soft"` sends every token to every expert: give num_experts_per_tok='
            f"{layer.num_experts} and capacity_factor=None; received {top_k} and {capacity}"
        )
    if capacity is not None:
        require_number("capacity_factor", capacity, above=0)
    require_number("routed_scale", layer.routed_scale, above=0)
    for name in ("bias_update_rate", "aux_loss_weight", "router_z_loss_weight", "load_entropy_weight"):
        require_number(name, getattr(layer, name), least=0)


def _check_dispatch(dispatch: str) -> None:
    if dispatch not in _DISPATCHES:
        raise ValueError(f"`dispatch` must be one of {', '.join(_DISPATCHES)}; received {dispatch!r}")
    if dispatch == "sorted" and keras.backend.backend() != "tensorflow":
        raise ValueError(
            '`dispatch="sorted"` has dynamic shapes and runs under TensorFlow alone; '
            f'take "capacity" or "auto" under {keras.backend.backend()}'
        )
