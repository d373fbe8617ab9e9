"""Which experts each token passes: the router's choice, capacity, losses and metrics."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from highnoon.layers.experts.router_losses import LossWeights, entropy, router_losses
from highnoon.layers.experts.routers.router import Router

METRICS = ("load_entropy", "token_entropy", "max_load", "drop_fraction")


class Routing(NamedTuple):
    """The routed tokens.

    Args:
        expert_ids: (b, t, k) int32, the chosen experts, best first; `num_experts` where the token
            is padding, was dropped, or no expert took it.
        positions: (b, t, k) int32, how many earlier choices of the row took the same expert; None
            unless asked for.
        gates: (b, t, k) float32, the weight of each chosen expert.
        aux_loss: Scalar: the weighted losses, a mean over tokens.
        load: (e,) float32, the choices that fell on each expert, drops included.
        metrics: Scalars under the names of `METRICS`.
    """

    expert_ids: Any
    positions: Any
    gates: Any
    aux_loss: Any
    load: Any
    metrics: dict[str, Any]


def route(
    logits,
    is_token,
    router: Router,
    weights: LossWeights,
    bias=None,
    capacity: int | None = None,
    with_positions: bool = False,
) -> Routing:
    """Sends each token to its experts.

    Args:
        logits: (b, t, e) float32.
        is_token: (b, t) float32, 0 at padding, which takes no capacity and counts nowhere.
        router: Chooses the experts.
        weights: Of the losses, see `router_losses`.
        bias: (e,) float32 of a router that has one.
        capacity: Choices of one row that an expert takes, earlier tokens first; None for all.
        with_positions: Whether `positions` is needed.
    """
    num_experts = logits.shape[-1]
    choice = router.choose(logits, is_token, bias)
    expert_ids, chosen, gates, probabilities = choice
    counts = ops.stop_gradient(router.counts(choice, is_token))  # (b, e)
    aux_loss = router_losses(logits, probabilities, counts, is_token, router.num_experts_per_tok, weights)
    load = ops.sum(counts, axis=0)
    num_choices = ops.maximum(ops.sum(load), 1.0)

    positions, dropped = None, ops.zeros((), "float32")
    if with_positions or capacity is not None:
        positions = _positions(chosen)
    if capacity is not None:
        is_dropped = (positions >= capacity) & (expert_ids < num_experts)
        expert_ids = ops.where(is_dropped, num_experts, expert_ids)
        dropped = ops.sum(ops.cast(is_dropped, "float32")) / num_choices
    metrics = _metrics(load / num_choices, probabilities, is_token, dropped)
    return Routing(expert_ids, positions, gates, aux_loss, load, metrics)


def _positions(chosen):
    """(b, t, k): how many choices before this one, in order of time, took its expert."""
    batch, time = ops.shape(chosen)[0], ops.shape(chosen)[1]
    top_k, num_experts = chosen.shape[2:]
    flat = ops.reshape(ops.cast(chosen, "int32"), (batch, time * top_k, num_experts))
    earlier = ops.cumsum(flat, axis=1) - flat
    return ops.reshape(ops.sum(earlier * flat, axis=-1), (batch, time, top_k))


def _metrics(load, probabilities, is_token, dropped) -> dict[str, Any]:
    """Entropies over log(e), of the mean load and per token; the busiest expert over an even load."""
    num_experts = load.shape[-1]
    by_token = entropy(ops.stop_gradient(probabilities)) * is_token
    of_token = ops.sum(by_token) / ops.maximum(ops.sum(is_token), 1.0)
    largest = ops.log(float(max(num_experts, 2)))
    return {
        "load_entropy": entropy(load) / largest if num_experts > 1 else ops.ones((), "float32"),
        "token_entropy": of_token / largest,
        "max_load": ops.max(load) * num_experts,
        "drop_fraction": dropped,
    }
