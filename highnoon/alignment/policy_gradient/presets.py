"""The axes of policy gradients, and the published algorithms as values of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, require_choice, require_flag, require_number, shown
from highnoon.config.keys import resolve_keys
from highnoon.files.nearest_name import unknown_name

ADVANTAGES = ("gae", "group", "leave_one_out", "plain")
RATIOS = ("token", "sequence")
NORMALIZERS = ("tokens", "sequences", "constant")
KL_ESTIMATORS = ("k1", "k2", "k3")
KL_KINDS = ("none", "reward", "exact", *KL_ESTIMATORS)


@dataclasses.dataclass(frozen=True)
class PolicyGradientConfig:
    """The axes of a policy gradient.

    Args:
        advantage: `"gae"` needs a model with a value function; `"group"` subtracts the mean reward of the
            completions of a prompt, `"leave_one_out"` that of the others; `"plain"` is the reward itself.
        scale_rewards: With `"group"`, whether the group's standard deviation divides.
        skip_constant_groups: Whether rows of a group whose rewards are all equal leave the loss and its
            count. They have no advantage; with a KL loss or an entropy bonus they lose those terms too.
        whiten: Whether advantages get mean 0 and variance 1, once over an iteration.
        ratio: `"token"`, or `"sequence"`: the geometric mean of a completion's ratios.
        clip_low: The ratio is clipped at `1 - clip_low` where it falls; None does not clip.
        clip_high: The ratio is clipped at `1 + clip_high` where it rises; None does not clip.
        normalizer: What divides the loss: `"tokens"`, all tokens of the batch; `"sequences"`, first the
            tokens of each completion, then the completions; `"constant"`, completions times
            `constant_length`.
        constant_length: Tokens, above 0; 1 sums over the tokens of a completion.
        kl: The divergence from the reference. `"reward"` subtracts `kl_weight * log(p / reference)` of each
            token from the reward. `"exact"` adds the sum over the vocabulary to the loss. `"k1"`, `"k2"` and
            `"k3"` add that estimate from the sampled token. `"none"` needs no reference.
        kl_weight: At least 0.
        entropy_weight: Weight of the entropy of the next token's distribution, at least 0.
        value_weight: Weight of the value function's loss with `"gae"`, at least 0.
        value_clip: How far a value may move from that of the rollout within the loss; None for any distance.
        discount: Of future rewards with `"gae"`, in [0, 1].
        gae_lambda: In [0, 1].

    Raises:
        ConfigError: a value is out of its range, or contradicts another.
    """

    advantage: str = "gae"
    scale_rewards: bool = False
    skip_constant_groups: bool = False
    whiten: bool = False
    ratio: str = "token"
    clip_low: float | None = 0.2
    clip_high: float | None = 0.2
    normalizer: str = "tokens"
    constant_length: float = 1.0
    kl: str = "none"
    kl_weight: float = 0.0
    entropy_weight: float = 0.0
    value_weight: float = 0.5
    value_clip: float | None = None
    discount: float = 1.0
    gae_lambda: float = 0.95

    def __post_init__(self) -> None:
        for name, choices in (
            ("advantage", ADVANTAGES),
            ("ratio", RATIOS),
            ("normalizer", NORMALIZERS),
            ("kl", KL_KINDS),
        ):
            require_choice(name, getattr(self, name), choices)
        for name in ("scale_rewards", "skip_constant_groups", "whiten"):
            require_flag(name, getattr(self, name))
        for name in ("kl_weight", "entropy_weight", "value_weight"):
            require_number(name, getattr(self, name), least=0)
        for name in ("discount", "gae_lambda"):
            require_number(name, getattr(self, name), least=0, most=1)
        require_number("constant_length", self.constant_length, above=0)
        for name in ("clip_low", "clip_high", "value_clip"):
            if getattr(self, name) is not None:
                require_number(name, getattr(self, name), above=0)
        if self.scale_rewards and self.advantage != "group":
            raise ConfigError(
                f"`scale_rewards` belongs to advantage='group'; received advantage={self.advantage!r}; leave "
                "it out, or use `whiten`"
            )
        if self.kl == "none" and self.kl_weight:
            raise ConfigError(
                f"`kl_weight` must be 0 with kl='none'; received {shown(self.kl_weight)}; choose one of "
                f"{KL_KINDS[1:]}"
            )

    @property
    def has_groups(self) -> bool:
        """Whether rows of one prompt are compared with one another."""
        return self.advantage in ("group", "leave_one_out")

    @property
    def has_values(self) -> bool:
        """Whether the model must have a value function."""
        return self.advantage == "gae"

    @property
    def has_reference(self) -> bool:
        """Whether the log-probabilities of a reference are needed."""
        return self.kl != "none"


_GROUP = {"advantage": "group", "skip_constant_groups": True}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Schulman et al. 2017 (arXiv:1707.06347), with the KL in the reward of Ziegler et al. 2019
    # (arXiv:1909.08593) and the clipped value loss and whitening of its code.
    "ppo": {"whiten": True, "kl": "reward", "kl_weight": 0.05, "value_weight": 0.1, "value_clip": 0.2},
    # Shao et al. 2024, DeepSeekMath (arXiv:2402.03300), equations 3 and 4.
    "grpo": {**_GROUP, "scale_rewards": True, "normalizer": "sequences", "kl": "k3", "kl_weight": 0.04},
    # Liu et al. 2025 (arXiv:2503.20783), section 3.2: neither the deviation nor the length divides.
    "dr_grpo": {**_GROUP, "normalizer": "constant"},
    # Yu et al. 2025 (arXiv:2503.14476), sections 3.1 to 3.3: a higher upper bound, a loss over tokens, and no
    # groups of equal rewards.
    "dapo": {**_GROUP, "scale_rewards": True, "clip_high": 0.28},
    # Ahmadian et al. 2024 (arXiv:2402.14740), section 2: the completion is one action, nothing is clipped.
    "rloo": {
        "advantage": "leave_one_out",
        "clip_low": None,
        "clip_high": None,
        "normalizer": "constant",
        "kl": "reward",
        "kl_weight": 0.05,
    },
    # Zheng et al. 2025 (arXiv:2507.18071), equations 5 and 7, with the clipping range of its section 5.
    "gspo": {
        **_GROUP,
        "scale_rewards": True,
        "ratio": "sequence",
        "clip_low": 3e-4,
        "clip_high": 4e-4,
        "normalizer": "sequences",
    },
    # Williams 1992, "Simple Statistical Gradient-Following Algorithms", with an exact KL.
    "reinforce": {
        "advantage": "plain",
        "clip_low": None,
        "clip_high": None,
        "normalizer": "constant",
        "kl": "exact",
        "kl_weight": 0.05,
    },
}
"""Values of `PolicyGradientConfig` by the name of an algorithm; other fields have its defaults."""

_FIELDS = {field.name for field in dataclasses.fields(PolicyGradientConfig)}


def policy_gradient_config(preset: str, **axes: Any) -> PolicyGradientConfig:
    """Returns the axes of a named algorithm.

    Args:
        preset: One of `PRESETS`.
        **axes: Fields of `PolicyGradientConfig` in place of the preset's.

    Raises:
        ConfigError: there is no such preset or field, or a value is out of its range.

    Example:

    ```python
    from highnoon.alignment.policy_gradient import policy_gradient_config

    config = policy_gradient_config("grpo", scale_rewards=False)
    assert config.normalizer == "sequences" and not config.scale_rewards
    ```
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(unknown_name("preset", preset, list(PRESETS)))
    return PolicyGradientConfig(**{**PRESETS[preset], **resolve_keys(axes, _FIELDS, "PolicyGradient")})
