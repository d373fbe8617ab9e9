"""The ranges that experts, their groups and a token's choices set for one another."""

from __future__ import annotations

from highnoon.config.config_error import ConfigError


def require_expert_choice(
    num_experts: int,
    num_experts_per_tok: int,
    num_expert_groups: int = 1,
    num_groups_per_tok: int = 1,
    *,
    name: str = "num_experts",
    error: type[ValueError] = ConfigError,
) -> None:
    """Checks how many experts and groups a token chooses.

    Args:
        num_experts: Experts.
        num_experts_per_tok: Experts that a token passes.
        num_expert_groups: Groups of experts.
        num_groups_per_tok: Groups among whose experts a token chooses.
        name: Under which the caller knows `num_experts`, for the message.
        error: What to raise.

    Raises:
        ConfigError: a number does not fit the others.
    """
    experts, chosen = num_experts_per_tok, num_groups_per_tok
    if not 1 <= experts <= num_experts:
        raise error(f"`num_experts_per_tok` must be between 1 and {name}={num_experts}; received {experts}")
    if num_experts % num_expert_groups:
        raise error(f"`num_expert_groups` must divide {name}={num_experts}; received {num_expert_groups}")
    if not 1 <= chosen <= num_expert_groups:
        raise error(
            f"`num_groups_per_tok` must be between 1 and num_expert_groups={num_expert_groups}; "
            f"received {chosen}"
        )
    in_reach = chosen * (num_experts // num_expert_groups)
    if experts > in_reach:
        raise error(
            f"`num_experts_per_tok` must be at most the {in_reach} experts of num_groups_per_tok={chosen} "
            f"groups; received {experts}"
        )
