"""The gradient of one replica's rows, micro-batch by micro-batch (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from highnoon.config import ConfigError
from highnoon.layers.graph_function import graph_function
from highnoon.training.objective import Metric, Objective
from highnoon.training.steps.batch_columns import RowShapes, column_specs
from highnoon.training.steps.replicas import FIRST_ROW, all_variables, merged

TOTAL, WEIGHT = "total:", "weight:"
"""How the names begin under which a step returns the two sums of an objective's metric."""

_SCALES = ("loss", "aux", "aux_weight")


class Gradients(NamedTuple):
    """What a replica's rows give.

    Args:
        gradients: One for each trainable weight, summed over micro-batches.
        sums: `loss_sum`, `aux_loss`, and the total and weight of each metric.
        changed: The new values of variables that are not trained, by index.
    """

    gradients: list[tf.Tensor]
    sums: dict[str, tf.Tensor]
    changed: dict[int, tf.Tensor]


class Finished(NamedTuple):
    """Values that layers gave their variables at a step's end, by index.

    Args:
        others: Of variables that are not trained.
        weights: Of trained weights, in place of what the optimizer made of them.
    """

    others: dict[int, tf.Tensor]
    weights: dict[int, tf.Tensor]


class MicroBatches:
    """Sums the gradients of an objective over micro-batches, as a function of tensors.

    Dropout draws by the index of a micro-batch in the global batch, so the number of replicas and
    micro-batches does not change what is drawn.

    Args:
        model: Its trainable variables are differentiated; all its other variables may change.
        objective: The loss.
        micro_batch_size: Rows in one forward and backward pass.
        jit_compile: Whether XLA compiles that pass: the parts that gain by it if the model has
            `compiled_parts`, else the entire model.
    """

    def __init__(
        self, model: keras.Model, objective: Objective, micro_batch_size: int, *, jit_compile: bool
    ) -> None:
        self._model, self._objective, self._size = model, objective, micro_batch_size
        layers = list(model._flatten_layers())
        self._finishing = [layer for layer in layers if hasattr(layer, "finish_step")]
        seeds = {id(seed.state) for layer in layers for seed in getattr(layer, "_seed_generators", [])}
        seeds |= {id(seed.state) for seed in objective.seed_generators()}
        self.weights = list(model.trainable_variables)
        self.others = [*_other_variables(model), *(seed.state for seed in objective.seed_generators())]
        self._frozen = [
            variable for frozen in objective.frozen_models().values() for variable in all_variables(frozen)
        ]
        self._seeds = [index for index, variable in enumerate(self.others) if id(variable) in seeds]
        self._compiles_parts = jit_compile and hasattr(model, "compiled_parts")
        self._function = graph_function(
            self._differentiate, jit_compile=jit_compile and not self._compiles_parts
        )
        self._means = graph_function(
            self._means_of_rows, jit_compile=jit_compile and not self._compiles_parts
        )

    def trace(self, shapes: RowShapes) -> Any:
        """Returns the function of one micro-batch, traced for rows of these shapes.

        It is a function of tensors alone, so it is traced once, whatever the number of replicas.
        """
        scalar = tf.TensorSpec((), tf.float32)
        function = self._function.get_concrete_function(
            column_specs(self._objective.columns, shapes, (self._size,)),
            dict.fromkeys(_SCALES, scalar),
            _specs(self.weights),
            _specs(self.others),
            _specs(self._frozen),
        )
        for name, spec in function.structured_outputs[1].items():
            if not spec.shape.is_fully_defined():
                raise ConfigError(
                    f"a metric of {type(self._objective).__name__} must have a static shape; `{name}` has "
                    f"{spec.shape}"
                )
        return function

    def __call__(
        self,
        traced: Any,
        batch: Mapping[str, tf.Tensor],
        scales: Mapping[str, tf.Tensor],
        weights: Sequence[tf.Tensor],
        others: Sequence[tf.Tensor],
    ) -> Gradients:
        """Returns the sums over a replica's rows.

        Args:
            traced: What `trace` returned.
            batch: The replica's rows, and `FIRST_ROW`, how many rows of the global batch precede them.
            scales: `loss` and `aux`, the factors on the two losses; `aux_weight`, of the global batch.
            weights: Values of the trainable variables.
            others: Values of the variables that are not trained.
        """
        size = self._size
        rows, num_rows, first_row = self._padded(batch), self._num_rows(batch), batch[FIRST_ROW]
        frozen = [tf.convert_to_tensor(variable.value) for variable in self._frozen]

        def run(start: tf.Tensor, changed: Mapping[int, tf.Tensor]) -> Any:
            now = [changed.get(index, value) for index, value in enumerate(others)]
            for index in self._seeds:
                offset = tf.cast((first_row + start) // size, others[index].dtype)
                now[index] = others[index] + tf.stack([offset, tf.zeros_like(offset)])
            return traced(self._rows_from(rows, start), dict(scales), list(weights), now, frozen)

        _, sum_specs, indices = traced.structured_outputs
        begin = (
            [tf.zeros_like(weight) for weight in weights],
            {name: tf.zeros(spec.shape) for name, spec in sum_specs.items()},
            {index: others[index] for index in indices},
        )

        def add_one(start: tf.Tensor, gradients: Any, sums: Any, changed: Any) -> tuple[Any, Any, Any, Any]:
            more_gradients, more_sums, changed = run(start, changed)
            gradients = [a + b for a, b in zip(gradients, more_gradients, strict=True)]
            return start + size, gradients, {name: sums[name] + more_sums[name] for name in sums}, changed

        _, gradients, sums, changed = tf.while_loop(
            lambda start, *_: start < num_rows, add_one, (tf.constant(0), *begin), parallel_iterations=1
        )
        for index in set(self._seeds) & set(changed):
            # The first word is the index in the global batch, the second counts the draws.
            changed[index] = tf.stack([others[index][0], changed[index][1]])
        return Gradients(gradients, sums, changed)

    def global_means(
        self,
        batch: Mapping[str, tf.Tensor],
        weights: Sequence[tf.Tensor],
        others: Sequence[tf.Tensor],
    ) -> dict[str, Metric]:
        """Returns the sums of the objective's global means over a replica's rows, without a gradient.

        What layers assign meanwhile is discarded.

        Args:
            batch: As of a call, as the following.
            weights: Values of the trainable variables.
            others: Values of the variables that are not trained.
        """
        names = list(self._objective.global_columns)
        rows, num_rows = self._padded(batch), self._num_rows(batch)
        frozen = [tf.convert_to_tensor(variable.value) for variable in self._frozen]

        def add_one(start: tf.Tensor, sums: Any) -> tuple[Any, Any]:
            found = self._means(self._rows_from(rows, start), list(weights), list(others), frozen)
            return start + self._size, tf.nest.map_structure(tf.add, sums, [found[name] for name in names])

        begin = [(tf.zeros(()), tf.zeros(())) for _ in names]
        _, sums = tf.while_loop(
            lambda start, *_: start < num_rows, add_one, (tf.constant(0), begin), parallel_iterations=1
        )
        return {name: Metric(*found) for name, found in zip(names, sums, strict=True)}

    def _means_of_rows(
        self,
        micro_batch: dict[str, tf.Tensor],
        weights: Sequence[tf.Tensor],
        others: Sequence[tf.Tensor],
        frozen: Sequence[tf.Tensor],
    ) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        variables = [*self.weights, *self.others, *self._frozen]
        pairs = list(zip(variables, [*weights, *others, *frozen], strict=True))
        with (
            keras.StatelessScope(collect_losses=True, state_mapping=pairs),
            self._model.compiled_parts() if self._compiles_parts else nullcontext(),
        ):
            means = self._objective.global_means(self._model, micro_batch)
        return {name: (scalar_sum(mean.total), scalar_sum(mean.weight)) for name, mean in means.items()}

    def _num_rows(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.shape(batch[next(iter(self._objective.columns))])[0]

    def _padded(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Complete micro-batches: rows of padding change nothing, and one known shape halves what the
        gradients of recurrent mixers keep."""
        missing = -self._num_rows(batch) % self._size
        return {
            name: tf.pad(
                batch[name], [[0, missing], *[[0, 0]] * len(column.axes)], constant_values=column.padding
            )
            for name, column in self._objective.columns.items()
        }

    def _rows_from(self, rows: Mapping[str, tf.Tensor], start: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the micro-batch that begins at a row."""
        size = self._size
        return {
            name: tf.ensure_shape(value[start : start + size], (size, *value.shape[1:]))
            for name, value in rows.items()
        }

    def finished(
        self,
        before: Sequence[tf.Tensor],
        changed: Mapping[int, tf.Tensor],
        weights_before: Sequence[tf.Tensor],
        updated_weights: Sequence[tf.Tensor],
        is_good: tf.Tensor,
    ) -> Finished:
        """Returns the values at the step's end.

        Layers with a `finish_step()` have it called: there they read what the step counted, and may change
        any of their variables, trained weights included. If the step is skipped, all keep their values.

        Args:
            before: Values of the variables that are not trained, before the step.
            changed: Those of them that this replica changed, by index.
            weights_before: The trained weights before the step.
            updated_weights: The trained weights after the optimizer's update.
            is_good: Whether the step counts.
        """
        changed = {index: merged(self.others[index], before[index], new) for index, new in changed.items()}
        now = [changed.get(index, value) for index, value in enumerate(before)]
        pairs = [*zip(self.others, now, strict=True), *zip(self.weights, updated_weights, strict=True)]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            for layer in self._finishing:
                layer.finish_step()
        changed |= _changes(scope, self.others, now)
        new_weights = _changes(scope, self.weights, updated_weights)
        return Finished(
            {index: tf.where(is_good, new, before[index]) for index, new in changed.items()},
            {index: tf.where(is_good, new, weights_before[index]) for index, new in new_weights.items()},
        )

    def _differentiate(
        self,
        micro_batch: dict[str, tf.Tensor],
        scales: dict[str, tf.Tensor],
        weights: Sequence[tf.Tensor],
        others: Sequence[tf.Tensor],
        frozen: Sequence[tf.Tensor],
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], dict[int, tf.Tensor]]:
        variables = [*self.weights, *self.others, *self._frozen]
        pairs = list(zip(variables, [*weights, *others, *frozen], strict=True))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            with (
                keras.StatelessScope(collect_losses=True, state_mapping=pairs) as scope,
                self._model.compiled_parts() if self._compiles_parts else nullcontext(),
            ):
                terms = self._objective.terms(self._model, micro_batch, training=True)
            fraction = scalar_sum(self._objective.aux_weight(micro_batch)) / scales["aux_weight"]
            loss = scales["loss"] * terms.loss_sum + scales["aux"] * fraction * terms.aux_loss
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        sums = {"loss_sum": scalar_sum(terms.loss_sum), "aux_loss": fraction * terms.aux_loss}
        for name, metric in terms.metrics.items():
            sums[TOTAL + name] = tf.cast(tf.convert_to_tensor(metric.total), tf.float32)
            sums[WEIGHT + name] = scalar_sum(metric.weight)
        changed = _changes(scope, self.others, others)
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums, changed


def scalar_sum(value: Any) -> tf.Tensor:
    """Returns a sum that an objective computed as a float32 scalar."""
    return tf.cast(tf.convert_to_tensor(value), tf.float32)


def metric_sums(results: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns total and weight of each of the objective's metrics among what a step returned."""
    names = [key.removeprefix(TOTAL) for key in results if key.startswith(TOTAL)]
    return {name: (results[TOTAL + name], results[WEIGHT + name]) for name in names}


def _changes(
    scope: keras.StatelessScope, variables: Sequence[keras.Variable], before: Sequence[tf.Tensor]
) -> dict[int, tf.Tensor]:
    """The variables that a scope gave new values, by index."""
    after = [scope.get_current_value(variable) for variable in variables]
    return {
        index: tf.convert_to_tensor(new)
        for index, (new, old) in enumerate(zip(after, before, strict=True))
        if new is not old
    }


def _specs(variables: Sequence[keras.Variable]) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]


def _other_variables(model: keras.Model) -> list[keras.Variable]:
    """All that is not trained: statistics, dropout's states, and what layers count up during a step."""
    trained = {id(variable) for variable in model.trainable_variables}
    return [variable for variable in all_variables(model) if id(variable) not in trained]
