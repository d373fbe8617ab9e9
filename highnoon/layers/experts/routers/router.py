"""What every router does: from a token's logits to its experts and their gates."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from keras import ops

from highnoon.config import require_count, require_expert_choice, require_number


class Choice(NamedTuple):
    """What a router decided.

    Args:
        expert_ids: (b, t, k) int32, best first; the number of experts where there is none.
        chosen: (b, t, k, e) float32, the same one-hot, all zeros for none.
        gates: (b, t, k) float32, zero where there is no expert.
        probabilities: (b, t, e) float32, the router's distribution over experts.
    """

    expert_ids: Any
    chosen: Any
    gates: Any
    probabilities: Any


class Router:
    """Chooses experts token by token, so that no token sees another.

    ```
    scores = self.scores(logits)
    chosen = the k largest of self.preferences(logits, scores) + bias      within the best groups
    gates  = routed_scale * gates / sum(gates)                             the sum where gates are normalized
    ```

    A subclass overrides `scores`, or more. `MoELayer` takes one by name or as an object.

    Args:
        num_experts_per_tok: Experts k that each token passes, or passes on average.
        normalize_gates: Whether a token's gates add up to 1 before they are scaled.
        routed_scale: Factor on the gates, above 0.
        num_expert_groups: Groups of neighboring experts, a divisor of their number.
        num_groups_per_tok: Groups among whose experts a token chooses.

    Attributes:
        name: The `router_type`.
        is_trained: Whether the router's kernel is trained and has losses.
        has_bias: Whether a bias that balances the load is added to the scores before experts are chosen.
        can_group: Whether there may be more than one group.

    Raises:
        ValueError: an argument out of its range.
    """

    name: ClassVar[str] = "custom"
    is_trained: ClassVar[bool] = True
    has_bias: ClassVar[bool] = False
    can_group: ClassVar[bool] = False
    num_best_of_group: ClassVar[int] = 1
    """A group is as good as the sum of this many best scores in it."""

    def __init__(
        self,
        num_experts_per_tok: int = 2,
        normalize_gates: bool = True,
        routed_scale: float = 1.0,
        num_expert_groups: int = 1,
        num_groups_per_tok: int = 1,
    ) -> None:
        require_count("num_expert_groups", num_expert_groups)
        for name, count in (
            ("num_experts_per_tok", num_experts_per_tok),
            ("num_groups_per_tok", num_groups_per_tok),
        ):
            require_count(name, count, least=0)
        require_number("routed_scale", routed_scale, above=0)
        self.num_experts_per_tok = num_experts_per_tok
        self.normalize_gates = normalize_gates
        self.routed_scale = routed_scale
        self.num_expert_groups = num_expert_groups
        self.num_groups_per_tok = num_groups_per_tok

    def check(self, num_experts: int, capacity_factor: float | None) -> None:
        """Checks that the router suits a layer.

        Raises:
            ValueError: it does not.
        """
        require_expert_choice(
            num_experts,
            self.num_experts_per_tok,
            self.num_expert_groups,
            self.num_groups_per_tok,
            error=ValueError,
        )
        if self.num_expert_groups > 1 and not self.can_group:
            raise ValueError(
                f"`num_expert_groups` above 1 needs a router of top_k, sigmoid; received {self.name!r}"
            )

    def initial_bias(self, num_experts: int) -> float:
        """Returns the value from which every expert's bias starts."""
        return 0.0

    def count_slots(self, num_experts: int) -> int:
        """Returns how many experts one token passes at most."""
        return self.num_experts_per_tok

    def choose(self, logits, is_token, bias=None) -> Choice:
        """Chooses the experts of each token.

        Args:
            logits: (b, t, e) float32.
            is_token: (b, t) float32, 0 at padding, which has no expert.
            bias: (e,) float32 where the router has one.
        """
        num_experts = logits.shape[-1]
        scores = self.scores(logits)
        expert_ids = self.rank(ops.stop_gradient(self.preferences(logits, scores)), bias)
        expert_ids = ops.where(is_token[..., None] > 0, expert_ids, num_experts)
        chosen = ops.one_hot(expert_ids, num_experts, dtype="float32")
        gates, probabilities = self.weigh(scores, chosen)
        if self.normalize_gates:
            total = ops.sum(gates, axis=-1, keepdims=True)
            gates = gates / ops.where(total > 0, total, 1.0)
        return Choice(expert_ids, chosen, gates * self.routed_scale, probabilities)

    def scores(self, logits):
        """Returns the scores (b, t, e) from which gates come."""
        return ops.softmax(logits, axis=-1)

    def preferences(self, logits, scores):
        """Returns the values (b, t, e) whose largest are chosen."""
        return scores

    def weigh(self, scores, chosen):
        """Returns the gates (b, t, k) and the probabilities (b, t, e)."""
        return ops.sum(scores[:, :, None, :] * chosen, axis=-1), scores

    def counts(self, choice: Choice, is_token):
        """Returns how many choices (b, e) of each row fell on each expert."""
        return ops.sum(choice.chosen, axis=(1, 2))

    def rank(self, preferences, bias=None):
        """Returns ids (b, t, k) int32, best first."""
        ranked = preferences if bias is None else preferences + bias
        if self.num_expert_groups > 1:
            ranked = self._within_best_groups(ranked)
        values, expert_ids = ops.top_k(ranked, self.count_slots(ranked.shape[-1]))
        return self.accept(values, ops.cast(expert_ids, "int32"), ranked.shape[-1])

    def accept(self, values, expert_ids, num_experts: int):
        """Returns the ids, with `num_experts` in place of experts that do not take the token."""
        return expert_ids

    def _within_best_groups(self, ranked):
        """The scores, minus infinity outside the best groups.

        DeepSeek-V2 (arXiv:2405.04434), section 2.2.2; DeepSeek-V3 (arXiv:2412.19437), section 2.1.2.
        """
        shape, groups = ops.shape(ranked), self.num_expert_groups
        by_group = ops.reshape(ranked, (*shape[:2], groups, ranked.shape[-1] // groups))
        num_best = min(self.num_best_of_group, by_group.shape[-1])
        of_group = ops.sum(ops.top_k(by_group, num_best)[0], axis=-1)
        _, best = ops.top_k(of_group, self.num_groups_per_tok)
        is_in = ops.sum(ops.one_hot(best, groups, dtype="float32"), axis=-2)
        return ops.reshape(ops.where(is_in[..., None] > 0, by_group, -float("inf")), shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "num_experts_per_tok": self.num_experts_per_tok,
            "normalize_gates": self.normalize_gates,
            "routed_scale": self.routed_scale,
            "num_expert_groups": self.num_expert_groups,
            "num_groups_per_tok": self.num_groups_per_tok,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Router:
        """Returns the router that `get_config` described."""
        return cls(**config)
