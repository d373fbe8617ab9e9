"""The exact likelihood of a model of block diffusion: that of blocks of one token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from highnoon.inference.block_diffusion.diffusion_outputs import is_diffusion, mask_id_of
from highnoon.training.objective import Column, Metric, NextToken, Objective, Terms
from highnoon.training.objectives.block_diffusion.block_inputs import masked_inputs


class NextTokenOfBlocks(NextToken):
    """The mean cross entropy of the next token, of a model of block diffusion, in nats a supervised token.

    One pass over a mask in the position of each label and the tokens themselves; see `masked_inputs`.

    Args:
        mask_id: The id of the mask, which has no probability.
    """

    is_likelihood = True

    def __init__(self, mask_id: int) -> None:
        self.mask_id = mask_id

    def with_tasks(self, tasks: Sequence[str]) -> Objective:
        return self

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        return exact_terms(model, batch, training, self.mask_id)

    def get_config(self) -> dict[str, Any]:
        return {"mask_id": self.mask_id}


def exact_terms(model: keras.Model, batch: Mapping[str, Any], training: bool, mask_id: int) -> Terms:
    """Returns the sums of the exact next-token loss.

    Args:
        model: A model that takes blocks.
        batch: The columns of `NextToken`.
        training: Whether dropout acts.
        mask_id: The id of the mask.
    """
    inputs = masked_inputs(batch, mask_id)
    inputs |= {"labels": batch["labels"], "loss_weights": batch["loss_weights"]}
    return sums_of(model, inputs, training, mask_id)


def sums_of(model: keras.Model, inputs: Mapping[str, Any], training: bool, mask_id: int) -> Terms:
    """Returns a model's `loss_terms` of both halves of some rows as the terms of an objective."""
    sums = model.loss_terms(dict(inputs), training=training, excluded_id=mask_id)
    num_tokens = ops.sum(ops.cast(inputs["segment_ids"] > 0, "float32"))
    metrics = {name: Metric(value * num_tokens, num_tokens) for name, value in sums["metrics"].items()}
    return Terms(sums["loss_sum"], sums["aux_loss"], metrics)


def likelihood_objective(model: keras.Model) -> Objective:
    """Returns the objective whose loss is the likelihood of text under a model, of any kind.

    The batches of a model with `loss_columns` have these integers of each token too.
    """
    if is_diffusion(model):
        return NextTokenOfBlocks(mask_id_of(model))
    objective, further = NextToken(), getattr(model, "loss_columns", ())
    if further:
        objective.columns = {**objective.columns, **{name: Column("int32", ("token",)) for name in further}}
    return objective
