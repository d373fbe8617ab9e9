"""What a stage minimizes: the objective of a training run."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError, shown
from highnoon.training.model_inputs import model_inputs
from highnoon.training.task_losses import TASK_IDS, TASK_LOSS, task_figures, task_sums


@dataclasses.dataclass(frozen=True)
class Column:
    """One array of a batch.

    Args:
        dtype: A Keras dtype, such as `"int32"`.
        axes: The axes after the batch's first one, which counts rows: `"token"` for the positions of a
            sequence, or an integer for an axis of fixed size. `()` is one value for each row.
        padding: The value of rows that fill up the last micro-batch. They must add nothing to any sum.
    """

    dtype: str
    axes: tuple[str | int, ...] = ()
    padding: float = 0


class Metric(NamedTuple):
    """A metric as sums, so that it is exact over micro-batches, replicas and workers.

    Args:
        total: A sum over the rows of a batch: a scalar, or an array of static shape (a confusion matrix).
        weight: The scalar sum that divides it; additive over rows as well.
    """

    total: Any
    weight: Any


class Terms(NamedTuple):
    """What an objective computes from a batch.

    Args:
        loss_sum: Scalar; a sum over the rows. The step divides it by `Objective.weight` of the global batch.
        aux_loss: Scalar; a mean over the batch (a router's balance loss), weighted by `aux_weight`.
        metrics: By full name, such as `"router/load_entropy"`.
    """

    loss_sum: Any
    aux_loss: Any
    metrics: Mapping[str, Metric]


NEXT_TOKEN_COLUMNS: Mapping[str, Column] = {
    "token_ids": Column("int32", ("token",)),
    "labels": Column("int32", ("token",)),
    "segment_ids": Column("int32", ("token",)),
    "positions": Column("int32", ("token",)),
    "loss_weights": Column("float32", ("token",)),
}


class Objective:
    """What a stage minimizes: `sum of terms over the global batch / sum of weights of the global batch`.

    A subclass is registered with `register_objective`, is built from plain values, and returns them from
    `get_config`, so that it is saved with the run and compared when the run is resumed.

    Attributes:
        columns: The arrays of a batch by name.
        figures: Names of what `report` returns besides `loss`; None: not known before a run.
        alerts_off: Names of alert rules that make no sense for the loss: `high_loss` compares it with that of
            guessing a token.
        is_likelihood: Whether the held-out loss sum is the nats of the text's tokens, so that bits per byte
            follow from it.
        tasks: Names of the tasks whose losses are reported. They are part of a stage and not of `get_config`,
            since they change nothing of what is trained.
        global_columns: Names of the columns that the step fills with `global_means`, in place of what the
            rows have there.
        sequences_per_row: How many sequences of `max_seq_length` tokens the model reads for a row.
    """

    columns: Mapping[str, Column] = NEXT_TOKEN_COLUMNS
    figures: Sequence[str] | None = None
    alerts_off: Sequence[str] = ("high_loss",)
    is_likelihood: bool = False
    tasks: Sequence[str] = ()
    global_columns: Sequence[str] = ()
    sequences_per_row: int = 1

    def with_tasks(self, tasks: Sequence[str]) -> Objective:
        """Returns an objective that also reports the loss of each task; itself where it cannot."""
        return self

    def frozen_models(self) -> Mapping[str, keras.Model]:
        """Returns the models that `terms` reads and training never changes, by name; they are not saved."""
        return {}

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Returns the scalar that divides the loss sum: a sum over rows, known before the first pass.

        A global batch of a weight below one is divided by one.
        """
        raise NotImplementedError

    def aux_weight(self, batch: Mapping[str, Any]) -> Any:
        """Returns the weight of a micro-batch's auxiliary loss; a sum over rows. Default: `weight`."""
        return self.weight(batch)

    def num_tokens(self, batch: Mapping[str, Any]) -> Any:
        """Returns how many tokens a batch has, for the throughput; a sum over rows.

        Default: the positions of `segment_ids` or `padding_mask` that are not padding; without such a column
        the elements of the largest array.
        """
        for name in ("segment_ids", "padding_mask"):
            if name in self.columns:
                return ops.sum(ops.cast(ops.cast(batch[name], "int32") > 0, "float32"))
        sizes = [ops.size(batch[name]) for name in self.columns]
        return ops.cast(ops.max(ops.stack(sizes)), "float32")

    def seed_generators(self) -> Sequence[keras.random.SeedGenerator]:
        """Returns the random streams that `terms` draws from (noise, masks).

        Their states are saved in checkpoints. A draw depends on the index of the micro-batch in the global
        batch, as dropout's does.
        """
        return ()

    def global_means(self, model: keras.Model, batch: Mapping[str, Any]) -> Mapping[str, Metric]:
        """Returns the sums of means over the global batch that `terms` reads, one for each global column.

        A step adds them up over all micro-batches and replicas before the first of them, at the weights from
        before the step and without a gradient, and gives `terms` the mean in each row. An evaluation takes
        the mean over all rows that it is given.

        Args:
            model: The model that is trained.
            batch: As of `terms`.
        """
        return {}

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        """Returns the loss and the metrics of a batch.

        Args:
            model: The model that is trained.
            batch: One array for each of `columns`, of shape (rows, *axes).
            training: Whether dropout acts.
        """
        raise NotImplementedError

    def report(self, loss: float, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        """Returns the figures of a split, by name without the prefix `val/`.

        Args:
            loss: The loss sum divided by the weight.
            metrics: Total and weight of each metric, summed over the split.
        """
        return {"loss": loss, **self.metric_values(metrics)}

    def metric_values(self, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        """Returns each metric's figure from its sums. Override it for metrics that are arrays of sums."""
        return {name: float(total) / max(weight, 1e-30) for name, (total, weight) in metrics.items()}

    def sequences(self, sources: Any, preparation: Any) -> Any:
        """Returns the rows that a stage trains on: a `StageRows`.

        Args:
            sources: The stage's opened sources, a `StageSources`.
            preparation: A `RowPreparation` of `highnoon.training.plans.row_preparation`, which tokenizes
                (`stores`) and packs (`packed`, `packed_stores`), and has `config`, `seed`, `tokenizer` and
                `stage`.
        """
        return preparation.packed(sources)

    def describe_outputs(self) -> dict[str, Any]:
        """Returns what a user of the trained model must know of its outputs, such as label names, as JSON.

        It becomes `model.outputs_description` and is saved with the model.
        """
        return {}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as JSON values."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Objective:
        """Returns the objective that `get_config` described."""
        return cls(**config)


_OBJECTIVES: dict[str, type[Objective]] = {}

# Objectives of this package that are imported, and so registered, when they are first asked for.
_SHIPPED = {
    "action_policy_gradient": "highnoon.alignment.environments.action_policy_gradient",
    "block_diffusion": "highnoon.training.objectives.block_diffusion.block_diffusion",
    "classification": "highnoon.training.objectives.classification",
    "distillation": "highnoon.training.objectives.distillation",
    "dpo": "highnoon.alignment.dpo",
    "gaussian_diffusion": "highnoon.experts.diffuser.gaussian_diffusion",
    "kto": "highnoon.alignment.kto",
    "mixture": "highnoon.experts.mixture_objective",
    "orpo": "highnoon.alignment.orpo",
    "policy_gradient": "highnoon.alignment.policy_gradient.policy_gradient",
    "reward_model": "highnoon.alignment.pairwise_reward",
    "simpo": "highnoon.alignment.simpo",
}


def register_objective(name: str) -> Callable[[type[Objective]], type[Objective]]:
    """Registers an objective's class under the name that recipes and saved runs use.

    Raises:
        ConfigError: another class has that name.
    """

    def register(cls: type[Objective]) -> type[Objective]:
        other = _OBJECTIVES.setdefault(name, cls)
        if other.__qualname__ != cls.__qualname__:
            raise ConfigError(f"an objective `{name}` is registered already: {other.__qualname__}")
        _OBJECTIVES[name] = cls
        return cls

    return register


@register_objective("next_token")
class NextToken(Objective):
    """The mean cross entropy of the next token, in nats for each supervised token.

    A model with a `loss_terms` method computes the sums itself. Any other model is called with its own inputs
    among `token_ids` and `padding_mask` (see `model_inputs`) and must return logits (rows, tokens,
    vocabulary).
    """

    alerts_off = ()
    figures: Sequence[str] = ("perplexity", "bits_per_byte")

    def with_tasks(self, tasks: Sequence[str]) -> Objective:
        if type(self) is not NextToken or not tasks:  # the losses of a subclass need not be the text's alone
            return self
        of_tasks = copy.copy(self)
        of_tasks.tasks = tuple(tasks)
        of_tasks.columns = {**self.columns, TASK_IDS: Column("int32", ("token",))}
        of_tasks.figures = (*NextToken.figures, *(f"{TASK_LOSS}/{task}" for task in tasks))
        return of_tasks

    def weight(self, batch: Mapping[str, Any]) -> Any:
        return ops.sum(batch["loss_weights"])

    def aux_weight(self, batch: Mapping[str, Any]) -> Any:
        """Tokens that are not padding."""
        return ops.sum(ops.cast(batch["segment_ids"] > 0, "float32"))

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        inputs = {name: value for name, value in batch.items() if name != TASK_IDS}
        sums = loss_terms(model, inputs, training, token_losses=bool(self.tasks))
        num_tokens = self.aux_weight(batch)
        metrics = {name: Metric(value * num_tokens, num_tokens) for name, value in sums["metrics"].items()}
        if self.tasks:
            losses, weights = sums["token_losses"], batch["loss_weights"]
            of_tasks = task_sums(losses, weights, batch[TASK_IDS], len(self.tasks))
            metrics[TASK_LOSS] = Metric(of_tasks, ops.sum(weights))
        return Terms(sums["loss_sum"], sums["aux_loss"], metrics)

    def report(self, loss: float, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        figures = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
        return figures | (task_figures(self.tasks, metrics[TASK_LOSS][0]) if TASK_LOSS in metrics else {})

    def metric_values(self, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        # A run reports task losses over all steps since the last log point, by `TaskLossSums`.
        return super().metric_values({name: sums for name, sums in metrics.items() if name != TASK_LOSS})


def loss_terms(
    model: keras.Model, batch: dict[str, Any], training: bool, *, token_losses: bool = False
) -> dict[str, Any]:
    """Returns the sums from which a batch's loss is computed.

    Args:
        model: Maps token ids to logits (b, t, v).
        batch: `token_ids`, `labels`, `segment_ids`, `positions` (b, t) int32; `loss_weights` (b, t) float32.
        training: Whether dropout acts.
        token_losses: Whether to return the loss of each token too.

    Returns:
        `loss_sum`, the scalar sum of weighted cross entropies in nats; `aux_loss`, a scalar mean over the
        tokens that are not padding; `metrics`, a dict of scalars, also token means; if asked for also
        `token_losses`, the unweighted cross entropies (b, t).
    """
    if hasattr(model, "loss_terms"):
        options = {"token_losses": True} if token_losses else {}
        return model.loss_terms(batch, training=training, **options)
    arrays = {"token_ids": batch["token_ids"], "padding_mask": batch["segment_ids"] > 0}
    logits = ops.cast(model(model_inputs(model, arrays), training=training), "float32")
    losses = keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True)
    aux_loss = sum(model.losses) if model.losses else ops.zeros(())
    of_tokens = {"token_losses": losses} if token_losses else {}
    loss_sum = ops.sum(losses * batch["loss_weights"])
    return {"loss_sum": loss_sum, "aux_loss": aux_loss, "metrics": {}, **of_tokens}


def objective_from_config(value: Any) -> Objective:
    """Returns an objective from a recipe's or a saved run's description.

    Args:
        value: An objective, the name of one, or a mapping of `name` and its arguments; None is `next_token`.

    Raises:
        ConfigError: no objective has that name, or its arguments do not fit.
    """
    if isinstance(value, Objective):
        return value
    described = (
        dict(value) if isinstance(value, Mapping) else {"name": "next_token" if value is None else value}
    )
    name = described.pop("name", None)
    if isinstance(name, str) and name in _SHIPPED:
        importlib.import_module(_SHIPPED[name])
    if not isinstance(name, str) or name not in _OBJECTIVES:
        raise ConfigError(
            f"`objective` must be an Objective or one of {sorted({*_OBJECTIVES, *_SHIPPED})}; received "
            f"{shown(value)}"
        )
    try:
        return _OBJECTIVES[name].from_config(described)
    except TypeError as error:
        raise ConfigError(f"objective `{name}`: {error}") from None


def describe_objective(objective: Objective) -> dict[str, Any]:
    """Returns the registered name and configuration of an objective, as JSON values.

    Raises:
        ConfigError: its class is not registered.
    """
    for name, cls in _OBJECTIVES.items():
        if type(objective) is cls:
            return {"name": name, **objective.get_config()}
    raise ConfigError(
        f"{type(objective).__name__} is not registered; decorate it with @register_objective('its_name')"
    )
