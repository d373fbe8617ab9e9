"""One optimizer step, compiled, on any number of replicas (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from highnoon.training.objective import loss_terms
from highnoon.training.optimizers import FunctionalOptimizer
from highnoon.training.steps.replicas import (
    FIRST_ROW,
    STOP,
    Replicas,
    all_variables,
    assign_all,
    merged,
    sum_replicas,
)
from highnoon.training.steps.step_state import FaultLimits, StepState, judge
from highnoon.training.steps.weight_update import WeightUpdate

BATCH_DTYPES = {
    "token_ids": tf.int32,
    "labels": tf.int32,
    "segment_ids": tf.int32,
    "positions": tf.int32,
    "loss_weights": tf.float32,
}


_SCALES = ("loss", "aux", "tokens")


class TrainStep:
    """Applies the gradient of one global batch once.

        loss = (sum of token losses) / (supervised tokens of the global batch) + aux
        g    = d(weight * loss) / dw, summed over micro-batches and replicas
        w   <- optimizer(w, g * min(1, clip / |g|))   where loss and |g| are finite, else w

    The counts are those of the global batch, known before the first micro-batch, so replicas and
    micro-batches of any number and size give the same gradient to rounding, and dropout draws by the
    place of a micro-batch in the global batch. The loop over micro-batches is inside the compiled step;
    the replicas' gradients are summed once, after it.

    A layer with a `finish_step()` (a mixture of experts that balances its load) has it called once a
    step, after the update and whatever the number of micro-batches and replicas.

    Args:
        model: Any model that `loss_terms` accepts, its variables under the replicas' strategy.
        optimizer: Built for the model's trainable variables, itself without clipping.
        micro_batch_size: Rows in one forward and backward pass of one replica.
        gradient_clip: Largest global norm, or None.
        jit_compile: Whether XLA compiles the forward and backward pass: the parts that gain by
            it where the model has `compiled_parts`, else the whole model. None does the former alone.
        replicas: The devices; None for one.
        state: What the step remembers; None begins anew. Steps of one run share it.
        limits: Which steps are passed over.

    Call arguments: a batch (dict of (rows, t) arrays, or what `Replicas.read` returned), the factor on the
    loss, and whether to measure. Returns scalars as tensors, which the host need not wait for: `loss`,
    `aux_loss`, `grad_norm` (before clipping), `learning_rate`, `is_skipped`, `skipped_in_a_row`, `num_stops`
    (replicas whose process was asked to stop), `num_tokens`, the model's metrics; and where measured, else 0,
    `grad_max`, `nan_count` and `inf_count` of the gradient, `weight_norm`, and `update_ratio`, the norm of
    what was added to the weights over theirs.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: FunctionalOptimizer,
        micro_batch_size: int,
        gradient_clip: float | None = 1.0,
        jit_compile: bool | None = None,
        replicas: Replicas | None = None,
        state: StepState | None = None,
        limits: FaultLimits | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.micro_batch_size = micro_batch_size
        self.gradient_clip = gradient_clip
        self.replicas = replicas or Replicas()
        self.state = state or StepState()
        self.limits = limits or FaultLimits(scales_loss=computes_in_float16(model))
        layers = list(model._flatten_layers())
        self._finishing = [layer for layer in layers if hasattr(layer, "finish_step")]
        seeds = {id(seed.state) for layer in layers for seed in getattr(layer, "_seed_generators", [])}
        self._weights = list(model.trainable_variables)
        self._others = _other_variables(model)
        self._seeds = [place for place, variable in enumerate(self._others) if id(variable) in seeds]
        has_parts = hasattr(model, "compiled_parts")
        jit_compile = has_parts if jit_compile is None else jit_compile
        self._compiles_parts = jit_compile and has_parts
        self._update = WeightUpdate(optimizer, self._weights, jit_compile)
        self._micro_gradients = tf.function(
            self._differentiate, jit_compile=jit_compile and not self._compiles_parts, autograph=False
        )
        self._compiled: dict[int, Any] = {}
        self._compiled_several: dict[int, Any] = {}
        self._metric_types: dict[int, dict[str, tf.DType]] = {}

    def __call__(self, batch: Any, loss_weight: float = 1.0, measures: bool = False) -> dict[str, tf.Tensor]:
        if isinstance(batch, Mapping) and FIRST_ROW not in batch:
            batch = self.replicas.share(batch, self.micro_batch_size)
        row_length = self.replicas.local(batch["token_ids"])[0].shape[1]
        if row_length not in self._compiled:
            self._compiled[row_length] = self._compile(row_length)
        metrics = self._compiled[row_length](
            batch, tf.constant(loss_weight, tf.float32), tf.constant(measures, tf.bool)
        )
        if row_length not in self._metric_types:
            self._metric_types[row_length] = {name: value.dtype for name, value in metrics.items()}
        return metrics

    def can_take_several(self, row_length: int) -> bool:
        """Whether a step of rows of this length was taken, which `several` repeats."""
        return row_length in self._metric_types

    def several(
        self, batches: Any, loss_weight: float = 1.0, measures_last: bool = False
    ) -> dict[str, tf.Tensor]:
        """Takes one step after another in one call, each the same function as when it is called alone.

        Args:
            batches: What `Replicas.read` returned, its arrays of shape (steps, rows, t).
            loss_weight: Factor on the loss.
            measures_last: Whether the last step measures.

        Returns: What a call returns, each of shape (steps,).
        """
        row_length = self.replicas.local(batches["token_ids"])[0].shape[2]
        if row_length not in self._compiled_several:
            self._compiled_several[row_length] = self._compile_several(row_length)
        return self._compiled_several[row_length](
            batches, tf.constant(loss_weight, tf.float32), tf.constant(measures_last, tf.bool)
        )

    def _compile_several(self, row_length: int) -> Any:
        step, types = self._compiled[row_length], self._metric_types[row_length]
        strategy = self.replicas.strategy

        def steps(batches: Any, loss_weight: tf.Tensor, measures_last: tf.Tensor) -> dict[str, tf.Tensor]:
            count = tf.shape(self.replicas.local(batches["token_ids"])[0])[0]

            def batch_of(place: tf.Tensor) -> Any:
                def own(batches: Any) -> Any:
                    return {
                        name: value[place] if name in BATCH_DTYPES else value
                        for name, value in batches.items()
                    }

                return strategy.run(own, args=(batches,))

            def take_one(place: tf.Tensor, kept: dict[str, Any]) -> tuple[tf.Tensor, dict[str, Any]]:
                measures = tf.logical_and(measures_last, tf.equal(place, count - 1))
                metrics = step(batch_of(place), loss_weight, measures)
                return place + 1, {name: kept[name].write(place, value) for name, value in metrics.items()}

            kept = {name: tf.TensorArray(dtype, count, element_shape=()) for name, dtype in types.items()}
            _, kept = tf.while_loop(
                lambda place, _: place < count, take_one, (tf.constant(0), kept), parallel_iterations=1
            )
            return {name: values.stack() for name, values in kept.items()}

        return self._compile_for_replicas(steps, (None, None, row_length))

    def _compile(self, row_length: int) -> Any:
        """Compiles for one row length."""
        scalar = tf.TensorSpec((), tf.float32)
        # A function of tensors alone: traced once, whatever the number of replicas.
        shape = (self.micro_batch_size, row_length)
        micro_gradients = self._micro_gradients.get_concrete_function(
            {key: tf.TensorSpec(shape, dtype) for key, dtype in BATCH_DTYPES.items()},
            dict.fromkeys(_SCALES, scalar),
            _specs(self._weights),
            _specs(self._others),
        )

        def step(batch: Any, loss_weight: tf.Tensor, measures: tf.Tensor) -> dict[str, tf.Tensor]:
            def on_replica(*args: Any) -> dict[str, tf.Tensor]:
                return self._step(micro_gradients, *args)

            results = self.replicas.strategy.run(on_replica, args=(batch, loss_weight, measures))
            return {name: self.replicas.local(value)[0] for name, value in results.items()}

        return self._compile_for_replicas(step, (None, row_length))

    def _compile_for_replicas(self, function: Callable[..., Any], shape: tuple[int | None, ...]) -> Any:
        """Compiles a function of rows of that shape, the factor on the loss, and whether to measure."""
        if self.replicas.count > 1:
            return tf.function(function, reduce_retracing=True, autograph=False)
        scalar = tf.TensorSpec((), tf.float32)
        specs = {key: tf.TensorSpec(shape, dtype) for key, dtype in BATCH_DTYPES.items()}
        specs |= {FIRST_ROW: tf.TensorSpec((), tf.int32), STOP: scalar}
        signature = [specs, scalar, tf.TensorSpec((), tf.bool)]
        return tf.function(function, input_signature=signature, autograph=False)

    def _step(
        self,
        micro_gradients: Callable[..., Any],
        batch: dict[str, tf.Tensor],
        loss_weight: tf.Tensor,
        measures: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """What each replica does."""
        now = self.state.values()
        counts = [tf.reduce_sum(batch["loss_weights"]), _num_tokens(batch), batch[STOP]]
        supervised, num_tokens, num_stops = tf.unstack(sum_replicas(tf.stack(counts)))
        loss_scale = now["loss_scale"] if self.limits.scales_loss else tf.constant(1.0)
        scales = {
            "loss": loss_scale * loss_weight / tf.maximum(supervised, 1.0),
            "aux": loss_scale * loss_weight,
            "tokens": tf.maximum(num_tokens, 1.0),
        }
        weights = [tf.convert_to_tensor(weight.value) for weight in self._weights]
        others = [tf.convert_to_tensor(variable.value) for variable in self._others]
        gradients, sums, changed = self._sum_micro_batches(micro_gradients, batch, scales, weights, others)
        gradients, sums = sum_replicas((gradients, sums))
        grad_norm = tf.linalg.global_norm(gradients) / loss_scale
        loss_sum = sums.pop("loss_sum")
        is_good, new_state = judge(now, loss_sum, supervised, grad_norm, self.limits)
        clip = 1.0
        if self.gradient_clip is not None:
            clip = self.gradient_clip / tf.maximum(grad_norm, self.gradient_clip)
        learning_rate = tf.convert_to_tensor(self.optimizer.learning_rate)
        updated = self._update(gradients, weights, clip / loss_scale, learning_rate, is_good)
        metrics = {
            "loss": loss_sum / tf.maximum(supervised, 1.0),
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
            "is_skipped": new_state["skipped"] > now["skipped"],
            "skipped_in_a_row": new_state["skipped_in_a_row"],
            "num_stops": num_stops,
            "num_tokens": num_tokens,
            **sums,
            **_measured(measures, gradients, grad_norm, loss_scale, weights, updated.weights),
        }
        if self.limits.scales_loss:
            metrics["loss_scale"] = loss_scale
        new_others = self._finished(others, changed, is_good)
        assign_all(
            [*updated.variables, *(self._others[place] for place in new_others), *self.state.variables],
            [*updated.values, *new_others.values(), *new_state.values()],
        )
        return metrics

    def _sum_micro_batches(
        self,
        micro_gradients: Any,
        batch: dict[str, tf.Tensor],
        scales: dict[str, tf.Tensor],
        weights: Sequence[tf.Tensor],
        others: Sequence[tf.Tensor],
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], dict[int, tf.Tensor]]:
        """Returns the replica's gradients and metric sums, and the other variables that changed, by place."""
        size = self.micro_batch_size
        num_rows, first_row = tf.shape(batch["token_ids"])[0], batch[FIRST_ROW]
        # Whole micro-batches: rows of padding change nothing, and one known shape halves what the
        # gradients of recurrent mixers keep.
        missing = -num_rows % size
        rows = {key: tf.pad(batch[key], [[0, missing], [0, 0]]) for key in BATCH_DTYPES}

        def run(start: tf.Tensor, changed: Mapping[int, tf.Tensor]) -> Any:
            now = [changed.get(place, value) for place, value in enumerate(others)]
            for place in self._seeds:
                offset = tf.cast((first_row + start) // size, others[place].dtype)
                now[place] = others[place] + tf.stack([offset, tf.zeros_like(offset)])
            micro_batch = {
                key: tf.ensure_shape(value[start : start + size], (size, value.shape[1]))
                for key, value in rows.items()
            }
            return micro_gradients(micro_batch, scales, list(weights), now)

        _, names, places = micro_gradients.structured_outputs
        begin = (
            [tf.zeros_like(weight) for weight in weights],
            {key: tf.zeros(()) for key in names},
            {place: others[place] for place in places},
        )

        def add_one(start: tf.Tensor, gradients: Any, sums: Any, changed: Any) -> tuple[Any, Any, Any, Any]:
            more_gradients, more_sums, changed = run(start, changed)
            gradients = [a + b for a, b in zip(gradients, more_gradients, strict=True)]
            return start + size, gradients, {key: sums[key] + more_sums[key] for key in sums}, changed

        _, gradients, sums, changed = tf.while_loop(
            lambda start, *_: start < num_rows, add_one, (tf.constant(0), *begin), parallel_iterations=1
        )
        for place in set(self._seeds) & set(changed):
            # The first word says the place in the global batch, the second counts the draws.
            changed[place] = tf.stack([others[place][0], changed[place][1]])
        return gradients, sums, changed

    def _differentiate(
        self,
        micro_batch: dict[str, tf.Tensor],
        scales: dict[str, tf.Tensor],
        weights: Sequence[tf.Tensor],
        others: Sequence[tf.Tensor],
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor], dict[int, tf.Tensor]]:
        pairs = list(zip([*self._weights, *self._others], [*weights, *others], strict=True))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            with (
                keras.StatelessScope(state_mapping=pairs) as scope,
                self.model.compiled_parts() if self._compiles_parts else nullcontext(),
            ):
                terms = loss_terms(self.model, micro_batch, training=True)
            share = _num_tokens(micro_batch) / scales["tokens"]
            loss = scales["loss"] * terms["loss_sum"] + scales["aux"] * share * terms["aux_loss"]
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        sums = {"loss_sum": terms["loss_sum"], "aux_loss": share * terms["aux_loss"]}
        sums |= {name: share * value for name, value in terms["metrics"].items()}
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums, self._changes(scope, others)

    def _changes(self, scope: keras.StatelessScope, before: Sequence[tf.Tensor]) -> dict[int, tf.Tensor]:
        """The other variables that a scope gave new values, by place."""
        after = [scope.get_current_value(variable) for variable in self._others]
        return {
            place: tf.convert_to_tensor(new)
            for place, (new, old) in enumerate(zip(after, before, strict=True))
            if new is not old
        }

    def _finished(
        self, before: Sequence[tf.Tensor], changed: Mapping[int, tf.Tensor], is_good: tf.Tensor
    ) -> dict[int, tf.Tensor]:
        """The other variables at the step's end, by place: as before where the step is passed over."""
        changed = {place: merged(self._others[place], before[place], new) for place, new in changed.items()}
        now = [changed.get(place, value) for place, value in enumerate(before)]
        with keras.StatelessScope(state_mapping=list(zip(self._others, now, strict=True))) as scope:
            for layer in self._finishing:
                layer.finish_step()
        changed |= self._changes(scope, now)
        return {place: tf.where(is_good, new, before[place]) for place, new in changed.items()}


def _specs(variables: Sequence[keras.Variable]) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]


def computes_in_float16(model: keras.Model) -> bool:
    """Whether a layer computes in float16, where gradients underflow unless the loss is scaled."""
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())


def _other_variables(model: keras.Model) -> list[keras.Variable]:
    """All that is not trained: statistics, dropout's states, and what layers count up during a step."""
    trained = {id(variable) for variable in model.trainable_variables}
    return [variable for variable in all_variables(model) if id(variable) not in trained]


def _measured(
    measures: tf.Tensor,
    gradients: Sequence[tf.Tensor],
    grad_norm: tf.Tensor,
    loss_scale: tf.Tensor,
    before: Sequence[tf.Tensor],
    after: Sequence[tf.Tensor],
) -> dict[str, tf.Tensor]:
    """What is worth a pass over all weights now and then; zeros where nobody asks."""
    names = ("grad_max", "nan_count", "inf_count", "weight_norm", "update_ratio")

    def measure() -> list[tf.Tensor]:
        weight_norm = tf.linalg.global_norm(before)
        faults = tf.cond(
            tf.math.is_finite(grad_norm),
            lambda: [tf.zeros(())] * 2,
            lambda: [_count(gradients, tf.math.is_nan), _count(gradients, tf.math.is_inf)],
        )
        change = tf.linalg.global_norm([new - old for new, old in zip(after, before, strict=True)])
        return [
            tf.reduce_max([tf.reduce_max(tf.abs(gradient)) for gradient in gradients]) / loss_scale,
            *faults,
            weight_norm,
            change / tf.maximum(weight_norm, 1e-12),
        ]

    values = tf.cond(measures, measure, lambda: [tf.zeros(())] * len(names))
    return dict(zip(names, values, strict=True))


def _count(tensors: Sequence[tf.Tensor], is_counted: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    return tf.add_n([tf.reduce_sum(tf.cast(is_counted(tensor), tf.float32)) for tensor in tensors])


def _num_tokens(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(batch["segment_ids"] > 0, tf.float32))
