"""Learning from another model's probabilities."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from highnoon.config import ConfigError, require_count, require_number
from highnoon.data import Derivation, DerivedColumn
from highnoon.inference.block_diffusion.diffusion_outputs import require_next_token
from highnoon.training.model_inputs import model_inputs
from highnoon.training.objective import (
    NEXT_TOKEN_COLUMNS,
    Column,
    Metric,
    Objective,
    Terms,
    register_objective,
)
from highnoon.training.objectives.teacher import Teacher
from highnoon.training.objectives.token_logits import separates_segments, token_logits

if TYPE_CHECKING:
    from highnoon.training.plans.row_preparation import RowPreparation, StageRows
    from highnoon.training.plans.stage_sources import StageSources

_BATCH_SIZE = 8


@register_objective("distillation")
class Distillation(Objective):
    """Cross entropy with a teacher's next-token distribution, mixed with that of the labels.

        p    = softmax(teacher(x) / temperature)
        loss = alpha * temperature^2 * H(p, softmax(student(x) / temperature))
               + (1 - alpha) * H(label, softmax(student(x)))

    a mean over supervised tokens, in nats. The factor temperature^2 keeps the gradient of the first term as
    large as that of the second.

    The teacher is frozen: it is known by the hash of its weights, and is in no checkpoint. Without `top_k` it
    runs in every step, next to the student. With `top_k` it runs once over the data before the first step:
    its likeliest tokens and their probabilities are stored with the tokens and renormalized, and the step
    does not hold it. It then reads each document from its beginning, up to `max_seq_length` tokens at a time.

    Args:
        teacher: A model with the student's vocabulary, or the path of a saved one. Runs that are described in
            YAML or started again from their folder need a path.
        temperature: Above 0; higher values weigh unlikely tokens more.
        top_k: How many of the teacher's likeliest tokens are stored; None for all, in every step.
        alpha: Weight of the teacher's distribution, in [0, 1].
        teacher_hash: The hash that the teacher's weights must have; None takes any.

    Raises:
        ConfigError: an argument is out of its range, or the teacher has other weights or is a model of block
            diffusion.

    Example:

    ```python
    import highnoon as hn
    from highnoon.training.objectives import Distillation

    teacher = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    objective = Distillation(teacher, temperature=2.0)
    assert objective.get_config()["temperature"] == 2.0
    ```

    Hinton, Vinyals, Dean (2015), "Distilling the Knowledge in a Neural Network", section 2.
    """

    figures = ("perplexity", *(f"distillation/{name}" for name in ("soft_loss", "hard_loss", "agreement")))

    def __init__(
        self,
        teacher: Any,
        temperature: float = 1.0,
        top_k: int | None = None,
        alpha: float = 0.5,
        teacher_hash: str | None = None,
    ) -> None:
        self.temperature = require_number("temperature", temperature, above=0)
        self.alpha = require_number("alpha", alpha, least=0, most=1)
        self.top_k = None if top_k is None else require_count("top_k", top_k)
        self._teacher = Teacher(teacher, teacher_hash)
        require_next_token(self._teacher.model)
        self.columns = dict(NEXT_TOKEN_COLUMNS)
        if self.top_k is not None:
            self.columns["teacher_ids"] = Column("int32", ("token", self.top_k))
            self.columns["teacher_log_probs"] = Column("float32", ("token", self.top_k))

    def frozen_models(self) -> Mapping[str, keras.Model]:
        return {"teacher": self._teacher.model} if self.top_k is None else {}

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Supervised tokens."""
        return ops.sum(batch["loss_weights"])

    def aux_weight(self, batch: Mapping[str, Any]) -> Any:
        """Tokens that are not padding."""
        return ops.sum(ops.cast(batch["segment_ids"] > 0, "float32"))

    def terms(self, model: keras.Model, batch: Mapping[str, Any], training: bool) -> Terms:
        logits, aux_loss = token_logits(model, batch, training)
        weights = batch["loss_weights"]
        student = ops.log_softmax(logits / self.temperature, axis=-1)
        if self.top_k is None:
            if self._teacher.model is model:
                raise ConfigError("the teacher must be another model than the one that is trained")
            teacher, _ = token_logits(self._teacher.model, batch, training=False)
            _require_same_vocabulary(teacher, logits)
            probs = ops.softmax(ops.stop_gradient(teacher) / self.temperature, axis=-1)
            is_best = ops.argmax(teacher, axis=-1)
        else:
            probs = ops.softmax(batch["teacher_log_probs"] / self.temperature, axis=-1)
            student = ops.take_along_axis(student, batch["teacher_ids"], axis=-1)
            is_best = batch["teacher_ids"][:, :, 0]
        soft = -ops.sum(probs * student, axis=-1) * self.temperature**2
        hard = keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True)
        agrees = ops.cast(ops.equal(ops.argmax(logits, axis=-1), is_best), "float32")
        weight = self.weight(batch)
        soft_sum, hard_sum = ops.sum(soft * weights), ops.sum(hard * weights)
        metrics = {
            "distillation/soft_loss": Metric(soft_sum, weight),
            "distillation/hard_loss": Metric(hard_sum, weight),
            "distillation/agreement": Metric(ops.sum(agrees * weights), weight),
        }
        return Terms(self.alpha * soft_sum + (1.0 - self.alpha) * hard_sum, aux_loss, metrics)

    def report(self, loss: float, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        values = self.metric_values(metrics)
        perplexity = math.exp(min(values["distillation/hard_loss"], 700.0))
        return {"loss": loss, "perplexity": perplexity, **values}

    def sequences(self, sources: StageSources, preparation: RowPreparation) -> StageRows:
        """Returns packed rows, with `top_k` after computing what the teacher says of them.

        Raises:
            ConfigError: `top_k`, and a source is a stream.
        """
        if self.top_k is None:
            if preparation.packing and not separates_segments(self._teacher.model):
                # The teacher would read across the documents of a row.
                preparation = copy.copy(preparation)
                preparation.packing = False
            return preparation.packed(sources)
        if sources.streamed:
            raise ConfigError(
                f"stage `{preparation.stage.name}` reads {sources.streamed[0]} as a stream, over which a "
                "teacher cannot run beforehand; leave out `top_k`, or read it without `stream`"
            )
        stores = preparation.stores(sources)
        derivation = self.derivation(preparation.config.max_seq_length)
        derived = preparation.derived(stores, derivation)
        self._teacher.release()
        return preparation.packed_stores(sources, stores, derived)

    def derivation(self, window: int) -> Derivation:
        """Returns what computes the teacher's likeliest tokens.

        Args:
            window: Most tokens of a document that the teacher reads at once.
        """
        assert self.top_k is not None
        columns = {
            "teacher_ids": DerivedColumn("<i4", (self.top_k,)),
            "teacher_log_probs": DerivedColumn("<f4", (self.top_k,)),
        }
        policy = self._teacher.model.dtype_policy.name
        config = {"kind": "best_tokens", "dtype": policy}
        return Derivation(columns, self._best_tokens, self._teacher.hash, config, window, _BATCH_SIZE)

    def _best_tokens(self, batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        logits = self._teacher.model(model_inputs(self._teacher.model, batch), training=False)
        assert self.top_k is not None
        ids, log_probs = self._teacher.best_tokens(logits, self.top_k)
        return {"teacher_ids": ids, "teacher_log_probs": log_probs}

    def get_config(self) -> dict[str, Any]:
        return {
            "teacher": self._teacher.path,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "alpha": self.alpha,
            "teacher_hash": self._teacher.hash,
        }


def _require_same_vocabulary(teacher: Any, student: Any) -> None:
    if teacher.shape[-1] != student.shape[-1]:
        raise ConfigError(
            f"the teacher must have the student's vocabulary of {student.shape[-1]:,} ids; received one of "
            f"{teacher.shape[-1]:,}; give a teacher that was trained with the same tokenizer"
        )
