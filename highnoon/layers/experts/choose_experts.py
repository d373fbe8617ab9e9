"""How each router finds the experts of a token, and how much each of them counts."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

ROUTERS = ("top_k", "sigmoid", "hash", "soft", "causal_expert_choice")
BIASED_ROUTERS = ("sigmoid", "causal_expert_choice")
GROUPED_ROUTERS = ("top_k", "sigmoid")
_SLOTS_OVER_SHARE = 2  # experts that may take one token, over how many do on average


class RouterOptions(NamedTuple):
    """What a router does.

    Args:
        router_type: One of `ROUTERS`.
        top_k: Experts that each token passes, or passes on average.
        normalize_gates: Whether a token's gates are made to add up to 1.
        routed_scale: Factor on the gates.
        num_groups: Groups of experts.
        num_groups_per_tok: Groups among whose experts a token chooses.
    """

    router_type: str = "top_k"
    top_k: int = 2
    normalize_gates: bool = True
    routed_scale: float = 1.0
    num_groups: int = 1
    num_groups_per_tok: int = 1


class Choice(NamedTuple):
    """What a router decided.

    Args:
        expert_ids: (b, t, k) int32, best first; the number of experts where there is none.
        chosen: (b, t, k, e) float32, the same as ones, all zeros for none.
        gates: (b, t, k) float32, zero where there is no expert.
        probabilities: (b, t, e) float32, the router's mind, adding up to 1.
    """

    expert_ids: Any
    chosen: Any
    gates: Any
    probabilities: Any


def choose_experts(logits, is_token, bias, options: RouterOptions) -> Choice:
    """Decides token by token, so that no token sees another.

    ```
    top_k                   s = softmax(logits);  chosen: the k largest s;        gates s
    sigmoid                 s = sigmoid(logits);  chosen: the k largest s + bias; gates s
    hash                    chosen: the k largest logits (of a router that is not trained); gates 1
    soft                    s = softmax(logits);  chosen: all;                    gates s
    causal_expert_choice    s = softmax(logits);  chosen: each with s + bias > 0; gates s
    gates = routed_scale * gates / sum(gates)     the sum where gates are normalised
    ```

    Args:
        logits: (b, t, e) float32.
        is_token: (b, t) float32, 0 at padding, which has no expert.
        bias: (e,) float32 of the routers in `BIASED_ROUTERS`, None for the others.
        options: What the router does.
    """
    num_experts, kind = logits.shape[-1], options.router_type
    scores = ops.sigmoid(logits) if kind == "sigmoid" else ops.softmax(logits, axis=-1)
    expert_ids = _rank(ops.stop_gradient(logits if kind == "hash" else scores), bias, options)
    expert_ids = ops.where(is_token[..., None] > 0, expert_ids, num_experts)
    chosen = ops.one_hot(expert_ids, num_experts, dtype="float32")
    if kind == "hash":
        gates, probabilities = ops.sum(chosen, axis=-1), ops.sum(chosen, axis=2) / options.top_k
    else:
        gates = ops.sum(scores[:, :, None, :] * chosen, axis=-1)
        probabilities = scores / ops.sum(scores, axis=-1, keepdims=True) if kind == "sigmoid" else scores
    if options.normalize_gates:
        total = ops.sum(gates, axis=-1, keepdims=True)
        gates = gates / ops.where(total > 0, total, 1.0)
    return Choice(expert_ids, chosen, gates * options.routed_scale, probabilities)


def count_slots(num_experts: int, options: RouterOptions) -> int:
    """Returns how many experts one token passes at most."""
    if options.router_type == "causal_expert_choice":
        return min(num_experts, _SLOTS_OVER_SHARE * options.top_k)
    return options.top_k


def _rank(scores, bias, options: RouterOptions):
    """(b, t, k) int32 ids, best first; the number of experts where an expert does not take the token."""
    num_experts = scores.shape[-1]
    ranked = scores if bias is None else scores + bias
    if options.num_groups > 1:
        ranked = _within_best_groups(ranked, options)
    values, expert_ids = ops.top_k(ranked, count_slots(num_experts, options))
    expert_ids = ops.cast(expert_ids, "int32")
    if options.router_type == "causal_expert_choice":
        expert_ids = ops.where(values > 0, expert_ids, num_experts)
    return expert_ids


def _within_best_groups(ranked, options: RouterOptions):
    """The scores, minus infinity outside the groups with the best expert, or the best two by `sigmoid`.

    DeepSeek-V2 (arXiv:2405.04434), section 2.2.2; DeepSeek-V3 (arXiv:2412.19437), section 2.1.2.
    """
    shape, groups = ops.shape(ranked), options.num_groups
    by_group = ops.reshape(ranked, (*shape[:2], groups, ranked.shape[-1] // groups))
    num_best = min(2 if options.router_type == "sigmoid" else 1, by_group.shape[-1])
    of_group = ops.sum(ops.top_k(by_group, num_best)[0], axis=-1)
    _, best = ops.top_k(of_group, options.num_groups_per_tok)
    is_in = ops.sum(ops.one_hot(best, groups, dtype="float32"), axis=-2)
    return ops.reshape(ops.where(is_in[..., None] > 0, by_group, -float("inf")), shape)
