"""The battery finds what it is for: each planted fault fails it, at the check that is meant to find it."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from keras import ops

from highnoon.config import ModelConfig
from highnoon.models import LanguageModel
from highnoon.testing import check_model as battery

CONFIG = ModelConfig(
    vocab_size=23,
    embedding_dim=16,
    num_reasoning_blocks=1,
    max_seq_length=32,
    block_pattern="attention+mlp",
    num_heads=2,
    ffn_dim=24,
)
NUM_PARAMETERS = 23 * 16 + (4 * 16**2 + 2 * 16) + 3 * 16 * 24 + 16


class MissesWeightsOfTheFormula(LanguageModel):
    def count_params(self):
        return super().count_params() + 1


class StartsWithLargeLogits(LanguageModel):
    def _head_kernel(self):
        return 5 * super()._head_kernel()


class AveragesTheLoss(LanguageModel):
    def loss_terms(self, batch, training=True):
        terms = super().loss_terms(batch, training)
        return {**terms, "loss_sum": terms["loss_sum"] / ops.sum(batch["loss_weights"])}


class IgnoresLossWeights(LanguageModel):
    def loss_terms(self, batch, training=True):
        return super().loss_terms({**batch, "loss_weights": ops.ones_like(batch["loss_weights"])}, training)


class ShiftsTheLabels(LanguageModel):
    def loss_terms(self, batch, training=True):
        return super().loss_terms({**batch, "labels": ops.roll(batch["labels"], 1, axis=1)}, training)


class ReportsNotANumber(LanguageModel):
    def loss_terms(self, batch, training=True):
        terms = super().loss_terms(batch, training)
        return {**terms, "metrics": {**terms["metrics"], "activation/size": ops.log(-1.0)}}


class DoublesItsGradient(LanguageModel):
    def loss_terms(self, batch, training=True):
        terms = super().loss_terms(batch, training)
        loss = terms["loss_sum"]
        return {**terms, "loss_sum": 2 * loss - ops.stop_gradient(loss)}


class LosesTheGradientOfTheHead(LanguageModel):
    def _head_kernel(self):
        return ops.stop_gradient(super()._head_kernel())


class IgnoresItsInputsInTraining(LanguageModel):
    def loss_terms(self, batch, training=True):
        batch = {name: ops.convert_to_tensor(array) for name, array in batch.items()}
        if training:
            batch["token_ids"] = ops.ones_like(batch["token_ids"])
        return super().loss_terms(batch, training)


class ScalesByAValueThatIsNotSaved(LanguageModel):
    def _logits(self, hidden):
        return 1.01 * super()._logits(hidden)

    def _head_kernel(self):
        return 1.01 * super()._head_kernel()


class SeesTheNextToken(LanguageModel):
    def call(self, inputs, training=None):
        logits = super().call(inputs, training=training)
        return logits + 1e-3 * ops.pad(logits, [[0, 0], [0, 1], [0, 0]])[:, 1:]


class LeaksBetweenDocuments(LanguageModel):
    def call(self, inputs, training=None):
        ids = inputs["token_ids"] if isinstance(inputs, dict) else inputs
        return super().call(ids, training=training)


class MixesBatchMates(LanguageModel):
    def call(self, inputs, training=None):
        logits = super().call(inputs, training=training)
        return logits - ops.mean(logits[:, :1], axis=0, keepdims=True) + logits[:1, :1]


class IgnoresPaddingWhenDecoding(LanguageModel):
    def decode(self, token_ids, cache, index, padding=None, *, last_only=False):
        return super().decode(token_ids, cache, index, None, last_only=last_only)


class CountsPositionsOfAStepFromZero(LanguageModel):
    def decode(self, token_ids, cache, index, padding=None, *, last_only=False):
        return super().decode(token_ids, cache, 0, padding, last_only=last_only)


class LosesItsCache(LanguageModel):
    def decode(self, token_ids, cache, index, padding=None, *, last_only=False):
        logits, _ = super().decode(token_ids, cache, index, padding, last_only=last_only)
        return logits, cache


class ReturnsBfloat16Logits(LanguageModel):
    def call(self, inputs, training=None):
        return ops.cast(super().call(inputs, training=training), self.backbone.compute_dtype)


class IgnoresAField(LanguageModel):
    def __init__(self, *args, rope_theta=None, **kwargs):
        super().__init__(*args, **kwargs)


class HasAnotherLossInBfloat16(LanguageModel):
    def loss_terms(self, batch, training=True):
        terms = super().loss_terms(batch, training)
        is_half = self.backbone.compute_dtype == "bfloat16"
        return {**terms, "loss_sum": terms["loss_sum"] * (1.05 if is_half else 1.0)}


FAULTS = [
    (MissesWeightsOfTheFormula, "the package's formula"),
    (StartsWithLargeLogits, "the first loss is"),
    (AveragesTheLoss, "the first loss is"),
    (IgnoresLossWeights, "the sum of loss weight times cross entropy"),
    (ShiftsTheLabels, "the sum of loss weight times cross entropy"),
    (ReportsNotANumber, "in training, `activation/size` is nan"),
    (DoublesItsGradient, "the gradient of the loss has the slope"),
    (LosesTheGradientOfTheHead, "the gradient of the loss has the slope"),
    (IgnoresItsInputsInTraining, "on one batch the loss is still"),
    (ScalesByAValueThatIsNotSaved, "Arrays are not equal"),
    (SeesTheNextToken, "change earlier logits"),
    (LeaksBetweenDocuments, "is not as alone"),
    (MixesBatchMates, "depends on its batch mates"),
    (IgnoresPaddingWhenDecoding, "decodes otherwise"),
    (CountsPositionsOfAStepFromZero, "decodes otherwise"),
    (LosesItsCache, "decodes otherwise"),
    (ReturnsBfloat16Logits, "the logits are bfloat16"),
    (HasAnotherLossInBfloat16, "under mixed_bfloat16"),
]


def test_a_sound_model_passes(tmp_path: pathlib.Path) -> None:
    battery.check_model(CONFIG, NUM_PARAMETERS, tmp_path)


@pytest.mark.parametrize("fault, message", FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_planted_fault_fails_the_battery(
    fault: type[LanguageModel], message: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(AssertionError, match=message):
        battery.check_model(CONFIG, NUM_PARAMETERS, tmp_path, fault)


def test_a_field_that_changes_nothing_fails_the_battery() -> None:
    others = {field.name for field in dataclasses.fields(ModelConfig)} - {"rope_theta"}
    changes = {"rope_theta": 50.0}
    battery.check_every_field_matters(CONFIG, changes, others)
    with pytest.raises(AssertionError, match="`rope_theta`=50.0 changes nothing"):
        battery.check_every_field_matters(CONFIG, changes, others, IgnoresAField)
