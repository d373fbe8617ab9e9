"""Learning from rewards of sampled sequences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from highnoon.alignment.policy_gradient.divergence import estimated_kl, exact_kl, later_sums
from highnoon.alignment.policy_gradient.policy_outputs import PolicyOutputs, text_outputs
from highnoon.alignment.policy_gradient.presets import (
    KL_ESTIMATORS,
    policy_gradient_config,
)
from highnoon.alignment.policy_gradient.surrogate import (
    at_sampled,
    clipped_surrogate,
    log_ratios,
    loss_count,
    token_weights,
    value_losses,
)
from highnoon.config import ConfigError, require_number
from highnoon.training.frozen_model import FrozenModel
from highnoon.training.objective import (
    NEXT_TOKEN_COLUMNS,
    Column,
    Metric,
    Objective,
    Terms,
    register_objective,
)

_TOKENS = Column("float32", ("token",))


@register_objective("policy_gradient")
class PolicyGradient(Objective):
    """The clipped policy gradient of sampled completions, with a divergence from a reference.

        r[t]    = exp(log p(label[t]) - old_log_probs[t])                       or its mean over a completion
        loss[t] = -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A)
                  + kl_weight * kl[t] - entropy_weight * H[t] + value_weight * value_loss[t]

    summed with the weights of the normalizer, and divided by the tokens or the completions of the global
    batch. `loss_weights` is 1 at completion tokens, up to and including the end token, and 0 elsewhere.
    The advantages A come from `assign_advantages`: once for an iteration, so that neither micro-batches nor
    replicas change them.

    `kl="exact"` sums over the vocabulary, and adds what a token does to the divergence of the tokens after
    it, `r[t] * (sum of the later kl)`, whose gradient a sum of the tokens' own divergences lacks. So its
    expected gradient is that of KL(policy || reference) over sequences. `kl="reward"` has the same expected
    gradient; `"k1"`, `"k2"` and `"k3"` do not.

    Reports `policy/kl_step`, the divergence of the policy from the one that sampled; `policy/kl_reference`,
    `policy/entropy`, `policy/clip_fraction`, `policy/ratio`, and `policy/value_loss`.

    Attributes:
        input_names: The columns that `outputs` reads.

    Args:
        preset: `"ppo"`, `"grpo"`, `"dr_grpo"`, `"dapo"`, `"rloo"`, `"gspo"` or `"reinforce"`, see `PRESETS`.
        reference: A model with the policy's vocabulary, or the path of a saved one; needed unless the axes
            say `kl="none"`. Runs that are started again from their folder need a path.
        reference_hash: The hash that the reference's weights must have; None takes any.
        temperature: Divides the logits, above 0: that of the rollout.
        **axes: Fields of `PolicyGradientConfig` in place of the preset's.

    Raises:
        ConfigError: an argument is out of its range, or the reference is missing.

    Example:

    ```python
    from highnoon.alignment import PolicyGradient

    objective = PolicyGradient("dr_grpo", constant_length=64)
    assert objective.axes.advantage == "group" and "advantages" in objective.columns
    ```

    Schulman et al. 2017 (arXiv:1707.06347); the papers of the presets are named in `PRESETS`.
    """

    input_names: Sequence[str] = ("token_ids", "labels", "segment_ids", "positions")
    figures = ("policy/kl_step", "policy/kl_reference", "policy/entropy", "policy/clip_fraction")

    def __init__(
        self,
        preset: str = "ppo",
        reference: Any = None,
        reference_hash: str | None = None,
        temperature: float = 1.0,
        **axes: Any,
    ) -> None:
        self.preset, self.axes = preset, policy_gradient_config(preset, **axes)
        self.temperature = require_number("temperature", temperature, above=0)
        self._reference = self._read_reference(reference, reference_hash)
        self.columns = self._columns()

    def _read_reference(self, reference: Any, reference_hash: str | None) -> FrozenModel | None:
        if reference is not None:
            return FrozenModel(reference, reference_hash, "reference")
        if self.axes.has_reference:
            raise ConfigError(
                f"kl={self.axes.kl!r} needs a `reference`; received None; give the model that training "
                "begins from, or kl='none' with kl_weight=0"
            )
        return None

    def _columns(self) -> dict[str, Column]:
        columns = {**NEXT_TOKEN_COLUMNS, "old_log_probs": _TOKENS, "advantages": _TOKENS}
        if self.axes.kl in KL_ESTIMATORS:
            columns["reference_log_probs"] = _TOKENS
        if self.axes.has_values:
            columns |= {"returns": _TOKENS, "old_values": _TOKENS}
        return columns

    @property
    def reference(self) -> FrozenModel | None:
        """The frozen model that the policy is held near to."""
        return self._reference

    def frozen_models(self) -> Mapping[str, keras.Model]:
        # Other kinds of divergence need the reference in the rollout alone.
        return {"reference": self._reference.model} if self._reference and self.axes.kl == "exact" else {}

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Sampled tokens or completions, as the normalizer says."""
        return loss_count(batch["loss_weights"], self.axes.normalizer)

    def aux_weight(self, batch: Mapping[str, Any]) -> Any:
        """Tokens that are not padding."""
        return ops.sum(ops.cast(batch["segment_ids"] > 0, "float32"))

    def outputs(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> PolicyOutputs:
        """Returns a model's outputs for a batch; the rollout calls it too, so that both compute the same."""
        has_values = self.axes.has_values and (self._reference is None or model is not self._reference.model)
        return text_outputs(model, batch, training, has_values=has_values, temperature=self.temperature)

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        axes, mask = self.axes, batch["loss_weights"]
        outputs = self.outputs(model, batch, training)
        # Masked before they are exponents: infinity times a weight of 0 is not 0.
        log_probs, old_log_probs = (
            at_sampled(values, mask) for values in (outputs.log_probs, batch["old_log_probs"])
        )
        logs = log_ratios(log_probs, old_log_probs, mask, axes.ratio)
        ratios = ops.exp(logs)
        advantages = at_sampled(batch["advantages"], mask)
        surrogate, is_clipped = clipped_surrogate(ratios, advantages, axes.clip_low, axes.clip_high)
        losses, sums = -surrogate, {"policy/clip_fraction": is_clipped, "policy/ratio": ratios}
        sums["policy/kl_step"] = estimated_kl("k3", old_log_probs, log_probs)
        sums["policy/entropy"] = outputs.entropies
        if axes.kl == "exact" or axes.kl in KL_ESTIMATORS:
            kl, kl_loss = self._divergence(outputs, batch)
            losses = losses + axes.kl_weight * kl_loss
            sums["policy/kl_reference"] = kl
        if axes.entropy_weight:
            losses = losses - axes.entropy_weight * outputs.entropies
        if axes.has_values:
            values, returns, old_values = (
                at_sampled(column, mask) for column in (outputs.values, batch["returns"], batch["old_values"])
            )
            of_values = value_losses(values, returns, old_values, axes.value_clip)
            losses = losses + axes.value_weight * of_values
            sums["policy/value_loss"] = of_values
        scales = token_weights(mask, axes.normalizer, axes.constant_length)
        num_tokens = ops.sum(mask)
        metrics = {
            name: Metric(ops.stop_gradient(ops.sum(mask * at_sampled(value, mask))), num_tokens)
            for name, value in sums.items()
        }
        return Terms(ops.sum(scales * at_sampled(losses, mask)), outputs.aux_loss, metrics)

    def _divergence(self, outputs: PolicyOutputs, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        """Returns the divergence of each token, and what the loss adds for it."""
        mask = batch["loss_weights"]
        log_probs = at_sampled(outputs.log_probs, mask)
        if self.axes.kl in KL_ESTIMATORS:
            reference = at_sampled(batch["reference_log_probs"], mask)
            kl = estimated_kl(self.axes.kl, log_probs, reference)
            return kl, kl
        assert self._reference is not None
        frozen = self.outputs(self._reference.model, batch, training=False)
        kl = exact_kl(outputs.all_log_probs, ops.stop_gradient(frozen.all_log_probs))
        own_ratios = ops.exp(log_probs - at_sampled(batch["old_log_probs"], mask))
        return kl, kl + own_ratios * later_sums(kl, mask)

    def get_config(self) -> dict[str, Any]:
        return {
            "preset": self.preset,
            "reference": self._reference.path if self._reference else None,
            "reference_hash": self._reference.hash if self._reference else None,
            "temperature": self.temperature,
            **dataclasses.asdict(self.axes),
        }
