"""One optimizer step, compiled, on any number of replicas (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from highnoon.layers.graph_function import graph_function
from highnoon.training.objective import Metric, NextToken, Objective
from highnoon.training.optimizers import FunctionalOptimizer, StatelessOptimizer
from highnoon.training.steps.batch_columns import RowShapes, column_specs, row_shapes
from highnoon.training.steps.histograms import histograms
from highnoon.training.steps.measures import measured
from highnoon.training.steps.micro_batches import MicroBatches, scalar_sum
from highnoon.training.steps.replicas import FIRST_ROW, STOP, Replicas, assign_all, sum_replicas
from highnoon.training.steps.stateless_update import StatelessUpdate
from highnoon.training.steps.step_state import FaultLimits, StepState, judge
from highnoon.training.steps.weight_update import WeightUpdate


class TrainStep:
    """Applies the gradient of one global batch once.

        loss = (sum of the objective's terms) / (sum of its weights over the global batch) + aux
        g    = d(weight * loss) / dw, summed over micro-batches and replicas
        w   <- optimizer(w, g * min(1, clip / |g|))   where loss and |g| are finite, else w

    The weights are those of the global batch, known before the first micro-batch, so replicas and
    micro-batches of any number and size give the same gradient to rounding. The loop over micro-batches is
    inside the compiled step; the replicas' gradients are summed once, after it.

    A layer with a `finish_step()` (a mixture of experts that balances its load, a local rule of plasticity)
    has it called once a step, after the update and whatever the number of micro-batches and replicas. What
    it changes of trained weights counts in `update_ratio`; an optimizer's moving average of the weights
    follows from the next step on.

    Args:
        model: Any model that the objective accepts, its variables under the replicas' strategy.
        optimizer: Built for the model's trainable variables, itself without clipping.
        micro_batch_size: Rows in one forward and backward pass of one replica.
        gradient_clip: Largest global norm, or None.
        jit_compile: Whether XLA compiles the forward and backward pass: the parts that gain by
            it where the model has `compiled_parts`, else the entire model. None does the former alone.
        replicas: The devices; None for one.
        state: What the step remembers; None creates it. Steps of one run share it.
        limits: Which steps are skipped.
        objective: What is minimized; None is `NextToken`.
        has_histograms: Whether steps that measure also return histograms of gradients and weights.

    Call arguments: a batch (a dict with the objective's columns, or what `Replicas.read` returned), the
    factor on the loss, and whether to measure. Returns tensors, which the host need not wait for: `loss`,
    `aux_loss`, `grad_norm` (before clipping), `learning_rate`, `is_skipped`, `skipped_in_a_row`, `num_stops`
    (replicas whose process was asked to stop), `num_tokens`; the sums of the objective's metrics, which
    `metric_sums` reads; and what `measured` describes.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: FunctionalOptimizer | StatelessOptimizer,
        micro_batch_size: int,
        gradient_clip: float | None = 1.0,
        jit_compile: bool | None = None,
        replicas: Replicas | None = None,
        state: StepState | None = None,
        limits: FaultLimits | None = None,
        objective: Objective | None = None,
        *,
        has_histograms: bool = False,
    ) -> None:
        self._has_histograms = has_histograms
        self.model, self.optimizer, self.micro_batch_size = model, optimizer, micro_batch_size
        self.objective = objective or NextToken()
        self.gradient_clip = gradient_clip
        self.replicas = replicas or Replicas()
        self.state = state or StepState()
        self.limits = limits or FaultLimits(scales_loss=computes_in_float16(model))
        if jit_compile is None:
            jit_compile = hasattr(model, "compiled_parts")
        self._micro_batches = MicroBatches(model, self.objective, micro_batch_size, jit_compile=jit_compile)
        weights = self._micro_batches.weights
        self._update: WeightUpdate | StatelessUpdate = (
            StatelessUpdate(optimizer, weights, jit_compile)
            if isinstance(optimizer, StatelessOptimizer)
            else WeightUpdate(optimizer, weights, jit_compile)
        )
        self._compiled: dict[RowShapes, Any] = {}
        self._compiled_several: dict[RowShapes, Any] = {}

    def __call__(self, batch: Any, loss_weight: float = 1.0, measures: bool = False) -> dict[str, tf.Tensor]:
        columns = self.objective.columns
        if isinstance(batch, Mapping) and FIRST_ROW not in batch:
            batch = self.replicas.split(batch, self.micro_batch_size)
        shapes = row_shapes(columns, self.replicas.local_batch(batch))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._compile(shapes)
        return self._compiled[shapes](
            batch, tf.constant(loss_weight, tf.float32), tf.constant(measures, tf.bool)
        )

    def several(
        self, batches: Any, loss_weight: float = 1.0, measures_last: bool = False
    ) -> dict[str, tf.Tensor]:
        """Takes one step after another in one call, each the same function as when it is called alone.

        Args:
            batches: What `Replicas.read` returned, its arrays with an axis of steps before that of rows.
            loss_weight: Factor on the loss.
            measures_last: Whether the last step measures.

        Returns:
            What a call returns, each with an axis of steps in front.
        """
        shapes = row_shapes(self.objective.columns, self.replicas.local_batch(batches), num_leading=2)
        if shapes not in self._compiled_several:
            self._compiled_several[shapes] = self._compile_several(shapes)
        return self._compiled_several[shapes](
            batches, tf.constant(loss_weight, tf.float32), tf.constant(measures_last, tf.bool)
        )

    def _compile_several(self, shapes: RowShapes) -> Any:
        if shapes not in self._compiled:
            self._compiled[shapes] = self._compile(shapes)
        step, columns = self._compiled[shapes], self.objective.columns
        strategy, first_column = self.replicas.strategy, next(iter(columns))

        def steps(batches: Any, loss_weight: tf.Tensor, measures_last: tf.Tensor) -> dict[str, tf.Tensor]:
            count = tf.shape(self.replicas.local(batches[first_column])[0])[0]

            def batch_of(index: tf.Tensor) -> Any:
                def own(batches: Any) -> Any:
                    return {
                        name: value[index] if name in columns else value for name, value in batches.items()
                    }

                return strategy.run(own, args=(batches,))

            def take_one(index: tf.Tensor, taken: dict[str, Any]) -> tuple[tf.Tensor, dict[str, Any]]:
                measures = tf.logical_and(measures_last, tf.equal(index, count - 1))
                metrics = step(batch_of(index), loss_weight, measures)
                return index + 1, {name: taken[name].write(index, value) for name, value in metrics.items()}

            one = step.get_concrete_function(batch_of(tf.constant(0)), loss_weight, measures_last)
            taken = {
                name: tf.TensorArray(spec.dtype, count, element_shape=spec.shape)
                for name, spec in one.structured_outputs.items()
            }
            _, taken = tf.while_loop(
                lambda index, _: index < count, take_one, (tf.constant(0), taken), parallel_iterations=1
            )
            return {name: values.stack() for name, values in taken.items()}

        return self._compile_for_replicas(steps, shapes, (None, None))

    def _compile(self, shapes: RowShapes) -> Any:
        """Compiles for rows of these shapes."""
        traced = self._micro_batches.trace(shapes)

        def step(batch: Any, loss_weight: tf.Tensor, measures: tf.Tensor) -> dict[str, tf.Tensor]:
            def on_replica(*args: Any) -> dict[str, tf.Tensor]:
                return self._step(traced, *args)

            results = self.replicas.strategy.run(on_replica, args=(batch, loss_weight, measures))
            return {name: self.replicas.local(value)[0] for name, value in results.items()}

        return self._compile_for_replicas(step, shapes, (None,))

    def _compile_for_replicas(
        self, function: Callable[..., Any], shapes: RowShapes, leading: tuple[int | None, ...]
    ) -> Any:
        """Compiles a function of a batch, the factor on the loss, and whether to measure."""
        if self.replicas.count > 1:
            return graph_function(function, reduce_retracing=True)
        scalar = tf.TensorSpec((), tf.float32)
        specs = column_specs(self.objective.columns, shapes, leading)
        specs |= {FIRST_ROW: tf.TensorSpec((), tf.int32), STOP: scalar}
        signature = [specs, scalar, tf.TensorSpec((), tf.bool)]
        return graph_function(function, input_signature=signature)

    def _step(
        self,
        traced: Callable[..., Any],
        batch: dict[str, tf.Tensor],
        loss_weight: tf.Tensor,
        measures: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """What each replica does."""
        objective, micro_batches, now = self.objective, self._micro_batches, self.state.values()
        rows = {name: batch[name] for name in objective.columns}
        counts = [objective.weight(rows), objective.aux_weight(rows), objective.num_tokens(rows), batch[STOP]]
        weight, aux_weight, num_tokens, num_stops = tf.unstack(
            sum_replicas(tf.stack([scalar_sum(count) for count in counts]))
        )
        loss_scale = now["loss_scale"] if self.limits.scales_loss else tf.constant(1.0)
        scales = {
            "loss": loss_scale * loss_weight / tf.maximum(weight, 1.0),
            "aux": loss_scale * loss_weight,
            "aux_weight": tf.maximum(aux_weight, 1.0),
        }
        weights = [tf.convert_to_tensor(variable.value) for variable in micro_batches.weights]
        others = [tf.convert_to_tensor(variable.value) for variable in micro_batches.others]
        if objective.global_columns:
            means = sum_replicas(micro_batches.global_means(batch, weights, others))
            batch = {**batch, **{name: _in_each_row(mean, batch[name]) for name, mean in means.items()}}
        gradients, sums, changed = micro_batches(traced, batch, scales, weights, others)
        gradients, sums = sum_replicas((gradients, sums))
        grad_norm = tf.linalg.global_norm(gradients) / loss_scale
        loss_sum = sums.pop("loss_sum")
        is_good, new_state = judge(now, loss_sum, weight, grad_norm, self.limits)
        clip = 1.0
        if self.gradient_clip is not None:
            clip = self.gradient_clip / tf.maximum(grad_norm, self.gradient_clip)
        learning_rate = tf.convert_to_tensor(self.optimizer.learning_rate)
        updated = self._update(gradients, weights, clip / loss_scale, learning_rate, is_good)
        finished = micro_batches.finished(others, changed, weights, updated.weights, is_good)
        new_weights = [finished.weights.get(index, new) for index, new in enumerate(updated.weights)]
        metrics = {
            "loss": loss_sum / tf.maximum(weight, 1.0),
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
            "is_skipped": new_state["skipped"] > now["skipped"],
            "skipped_in_a_row": new_state["skipped_in_a_row"],
            "num_stops": num_stops,
            "num_tokens": num_tokens,
            **sums,
            **measured(measures, gradients, grad_norm, loss_scale, weights, new_weights),
        }
        if self.limits.scales_loss:
            metrics["loss_scale"] = loss_scale
        if self._has_histograms:
            unscaled = [gradient / loss_scale for gradient in gradients]
            metrics |= histograms(measures, [*unscaled, *new_weights])
        of_layers = {id(micro_batches.weights[index]): value for index, value in finished.weights.items()}
        values = [
            of_layers.get(id(variable), value)
            for variable, value in zip(updated.variables, updated.values, strict=True)
        ]
        assign_all(
            [*updated.variables, *(micro_batches.others[i] for i in finished.others), *self.state.variables],
            [*values, *finished.others.values(), *new_state.values()],
        )
        return metrics


def _in_each_row(mean: Metric, column: tf.Tensor) -> tf.Tensor:
    """Returns a mean of the global batch in each row of a column; 0 where nothing counts."""
    return tf.fill(tf.shape(column), tf.math.divide_no_nan(mean.total, mean.weight))


def computes_in_float16(model: keras.Model) -> bool:
    """Whether a layer computes in float16, where gradients underflow unless the loss is scaled."""
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
