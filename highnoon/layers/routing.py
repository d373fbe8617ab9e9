"""Which experts a token passes: token-choice top-k routing, its losses and its metrics."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops


class Routing(NamedTuple):
    """Where tokens go.

    Args:
        expert_ids: (b, t, k) int32, the chosen experts, best first; `num_experts` where the token
            is padding or was dropped.
        places: (b, t, k) int32, how many earlier choices of the row took the same expert; None
            unless asked for.
        gates: (b, t, k) float32, the weight of each chosen expert, adding up to 1.
        aux_loss: Scalar: the weighted balance and z losses, a mean over tokens.
        metrics: Scalars `load_entropy`, `max_load`, `drop_fraction`.
    """

    expert_ids: Any
    places: Any
    gates: Any
    aux_loss: Any
    metrics: dict[str, Any]


def route(
    logits, is_token, top_k: int, capacity: int | None, with_places: bool,
    aux_loss_weight: float, router_z_loss_weight: float,
) -> Routing:
    """Sends each token to its `top_k` most probable experts.

    ```
    p = softmax(logits);  gates = p[chosen] / sum p[chosen]
    balance = sum over rows of tokens_row * e * sum_e f_e P_e / tokens
    z       = mean over tokens of logsumexp(logits) ** 2
    ```

    f_e is the share of a row's choices that fell on expert e, P_e its mean probability. Taken row
    by row, the loss of a batch is the token-weighted mean of its parts' losses.

    Args:
        logits: (b, t, e) float32.
        is_token: (b, t) float32, 0 at padding, which takes no capacity and counts nowhere.
        top_k: Experts that each token passes.
        capacity: Choices of one row that an expert takes, earlier tokens first; None for all.
        with_places: Whether `places` is needed.
        aux_loss_weight: Weight of the balance loss.
        router_z_loss_weight: Weight of the z loss.

    Fedus et al. 2021, Switch Transformers (arXiv:2101.03961), eq. 4, within each row; z loss:
    Zoph et al. 2022, ST-MoE (arXiv:2202.08906), eq. 5.
    """
    num_experts = logits.shape[-1]
    probabilities = ops.softmax(logits, axis=-1)
    gates, expert_ids = ops.top_k(probabilities, top_k)
    gates = gates / ops.sum(gates, axis=-1, keepdims=True)
    expert_ids = ops.where(is_token[..., None] > 0, ops.cast(expert_ids, "int32"), num_experts)
    chosen = ops.one_hot(expert_ids, num_experts, dtype="float32")  # (b, t, k, e), zeros at padding

    row_tokens = ops.sum(is_token, axis=1)
    tokens = ops.maximum(ops.sum(row_tokens), 1.0)
    counts = ops.stop_gradient(ops.sum(chosen, axis=(1, 2)))  # (b, e)
    mass = ops.sum(probabilities * is_token[..., None], axis=1)  # (b, e)
    by_row = ops.sum(counts * mass, axis=-1) / ops.maximum(row_tokens, 1.0)
    balance = num_experts * ops.sum(by_row) / (top_k * tokens)
    z = ops.sum(ops.square(ops.logsumexp(logits, axis=-1)) * is_token) / tokens
    aux_loss = aux_loss_weight * balance + router_z_loss_weight * z

    places, dropped = None, ops.zeros((), "float32")
    if with_places or capacity is not None:
        places = _places(chosen, num_experts, top_k)
    if capacity is not None:
        is_dropped = (places >= capacity) & (expert_ids < num_experts)
        expert_ids = ops.where(is_dropped, num_experts, expert_ids)
        dropped = ops.sum(ops.cast(is_dropped, "float32")) / (tokens * top_k)
    metrics = _load_metrics(ops.sum(counts, axis=0) / (tokens * top_k), dropped)
    return Routing(expert_ids, places, gates, aux_loss, metrics)


def _places(chosen, num_experts: int, top_k: int):
    """(b, t, k): how many choices before this one, in order of time, took its expert."""
    batch, time = ops.shape(chosen)[0], ops.shape(chosen)[1]
    flat = ops.reshape(ops.cast(chosen, "int32"), (batch, time * top_k, num_experts))
    earlier = ops.cumsum(flat, axis=1) - flat
    return ops.reshape(ops.sum(earlier * flat, axis=-1), (batch, time, top_k))


def _load_metrics(load, dropped) -> dict[str, Any]:
    """From the mean load (e,): its entropy over log(e), the busiest expert over an even share, drops."""
    num_experts = load.shape[-1]
    load = ops.stop_gradient(load)
    entropy = -ops.sum(load * ops.log(ops.maximum(load, 1e-9)))
    evenness = entropy / ops.log(float(num_experts)) if num_experts > 1 else ops.ones_like(entropy)
    return {
        "load_entropy": evenness,
        "max_load": ops.max(load) * num_experts,
        "drop_fraction": dropped,
    }
