"""Classifying documents by a label."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError, require_count, require_flag
from highnoon.data import ClassificationRows
from highnoon.data.sources.labeled_documents import labeled
from highnoon.training.model_inputs import model_inputs
from highnoon.training.objective import Column, Metric, Objective, Terms, register_objective
from highnoon.training.objectives.classifier_outputs import class_log_probs, gives_probabilities
from highnoon.training.objectives.label_map import label_map, require_labels
from highnoon.training.objectives.token_logits import added_losses

if TYPE_CHECKING:
    from highnoon.training.plans.row_preparation import RowPreparation, StageRows
    from highnoon.training.plans.stage_sources import StageSources

_CONFUSION = "classification/confusion"


@register_objective("classification")
class Classification(Objective):
    """The mean cross entropy of the labels of records, one record a row.

    The model may be any Keras model that maps `token_ids` and `padding_mask` (and `segment_ids`, which are
    zeros) to logits of shape (rows, num_labels): one of KerasHub's text classifiers, or a functional model of
    one's own, compiled or not. Outputs of a model whose last activation is a softmax are taken as
    probabilities.

    A record has its label, a string or an integer, in the field `label`. Labels are numbered once, from the
    first training data: integers below `num_labels` stand for themselves, others are sorted. The order is
    saved with the run and with the model (`model.outputs_description`), and a later record with another label
    is an error. Texts longer than `max_seq_length` are cut; a warning says how many.

    Reports `accuracy`, and `macro_f1`: the mean over labels of `2 tp / (2 tp + fp + fn)`, without labels that
    neither occur nor are predicted. Both come from a confusion matrix that is summed over the entire split.

    Args:
        num_labels: How many labels the model tells apart, at least 2.
        labels: The labels in the order of the model's outputs; None takes them from the training data.
        from_logits: Whether the model returns logits; None looks at its last activation.

    Raises:
        ConfigError: an argument is out of its range, or `labels` are not `num_labels`.

    Example:

    ```python
    from highnoon.training.objectives import Classification

    objective = Classification(num_labels=2, labels=["negative", "positive"])
    assert objective.labels[1] == "positive"
    ```
    """

    figures = ("accuracy", "macro_f1")
    columns = {
        "token_ids": Column("int32", ("token",)),
        "padding_mask": Column("int32", ("token",)),
        "label": Column("int32"),
        "weight": Column("float32"),
    }

    def __init__(
        self,
        num_labels: int,
        labels: Sequence[str | int] | None = None,
        from_logits: bool | None = None,
    ) -> None:
        self.num_labels = require_count("num_labels", num_labels, least=2)
        self.labels = None if labels is None else require_labels(labels, num_labels)
        self.from_logits = None if from_logits is None else require_flag("from_logits", from_logits)

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Rows that are not padding."""
        return ops.sum(batch["weight"])

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        outputs = model(model_inputs(model, batch), training=training)
        is_logits = not gives_probabilities(model) if self.from_logits is None else self.from_logits
        log_probs = class_log_probs(outputs, are_probabilities=not is_logits, num_labels=self.num_labels)
        is_label = ops.one_hot(batch["label"], self.num_labels, dtype="float32")
        is_label = is_label * batch["weight"][:, None]
        is_predicted = ops.one_hot(ops.argmax(log_probs, axis=-1), self.num_labels, dtype="float32")
        confusion = ops.matmul(ops.transpose(is_label), is_predicted)
        loss_sum = -ops.sum(is_label * log_probs)
        return Terms(loss_sum, added_losses(model), {_CONFUSION: Metric(confusion, self.weight(batch))})

    def metric_values(self, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        """Returns accuracy and macro-F1 from the confusion matrix."""
        confusion = np.asarray(metrics[_CONFUSION][0], np.float64)
        hits = np.diag(confusion)
        of_label, of_prediction = confusion.sum(axis=1), confusion.sum(axis=0)
        occurs = of_label + of_prediction > 0
        scores = 2.0 * hits[occurs] / (of_label + of_prediction)[occurs]
        return {
            "accuracy": float(hits.sum() / max(confusion.sum(), 1e-30)),
            "macro_f1": float(scores.mean()) if len(scores) else 0.0,
        }

    def number_labels(self, found: Sequence[str]) -> list[str]:
        """Returns the labels in the order of their numbers; the first call decides it where none were given.

        Args:
            found: All labels of a stage's data.
        """
        if self.labels is None:
            self.labels = label_map(found, self.num_labels)
        return self.labels

    def sequences(self, sources: StageSources, preparation: RowPreparation) -> StageRows:
        """Returns one labeled record a row.

        Raises:
            ConfigError: a source is a stream, or the training data have other labels than the objective.
            DataError: a record has no label, or the data were prepared without labels.
        """
        if sources.streamed:
            raise ConfigError(
                f"stage `{preparation.stage.name}` reads {sources.streamed[0]} as a stream, and a "
                "classification must know all labels beforehand; read it without `stream`"
            )
        opened = dataclasses.replace(sources, sources=[labeled(source) for source in sources.sources])
        stores = preparation.stores(opened)
        labels = self.number_labels(
            [
                store.label_names[number]
                for store in stores
                for number in np.unique(store.labels[~store.is_validation])
            ]
        )
        config = preparation.config

        def rows(split: str, weights: list[float] | None) -> ClassificationRows:
            return ClassificationRows(
                stores, labels, config.max_seq_length, preparation.seed, split, weights=weights
            )

        made = preparation.split_rows(opened, stores, rows)
        truncated = sum(side.num_truncated for side in (made.train, made.validation) if side is not None)
        if truncated:
            warnings.warn(
                f"stage `{preparation.stage.name}`: {truncated:,} texts are longer than "
                f"max_seq_length={config.max_seq_length} and are cut there",
                stacklevel=2,
            )
        return made

    def describe_outputs(self) -> dict[str, Any]:
        return {"labels": self.labels}

    def get_config(self) -> dict[str, Any]:
        return {"num_labels": self.num_labels, "labels": self.labels, "from_logits": self.from_logits}
