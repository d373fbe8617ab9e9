"""One optimizer step, compiled (TensorFlow only)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.training.objective import loss_terms

BATCH_DTYPES = {
    "token_ids": tf.int32,
    "labels": tf.int32,
    "segment_ids": tf.int32,
    "positions": tf.int32,
    "loss_weights": tf.float32,
}


class TrainStep:
    """Applies the gradient of one global batch once.

        loss = (sum of token losses) / (supervised tokens of the global batch) + aux
        g    = d(weight * loss) / dw, summed over micro-batches
        w   <- optimizer(w, g * min(1, clip / |g|))

    The counts are those of the global batch, known before the first micro-batch, so micro-batches of any
    size give the same gradient to rounding. The loop over micro-batches is inside the compiled step.

    A layer with a `finish_step()` (a mixture of experts that balances its load) has it called once a
    step, after the update and whatever the number of micro-batches.

    Args:
        model: Any model that `loss_terms` accepts.
        optimizer: Built for the model's trainable variables, itself without clipping.
        micro_batch_size: Rows in one forward and backward pass.
        gradient_clip: Largest global norm, or None.
        jit_compile: Whether XLA compiles the forward and backward pass: the parts that gain by
            it where the model has `compiled_parts`, else the whole model. None does the former alone.

    Call arguments: a batch (dict of (rows, t) arrays) and the factor on the loss. Returns scalars as tensors,
    which the host need not wait for: `loss`, `aux_loss`, `grad_norm`, `learning_rate`, the model's metrics.
    `loss_total` and `token_total` add up the epoch's loss in float64 on the device.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        micro_batch_size: int,
        gradient_clip: float | None = 1.0,
        jit_compile: bool | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.micro_batch_size = micro_batch_size
        self.gradient_clip = gradient_clip
        self.loss_total = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.token_total = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._finishing = [layer for layer in model._flatten_layers() if hasattr(layer, "finish_step")]
        self._variables = [variable.value for variable in model.trainable_variables]
        has_parts = hasattr(model, "compiled_parts")
        jit_compile = has_parts if jit_compile is None else jit_compile
        self._compiles_parts = jit_compile and has_parts
        self._micro_gradients = tf.function(
            self._differentiate, jit_compile=jit_compile and not self._compiles_parts, autograph=False
        )
        self._compiled: dict[int, Any] = {}

    def __call__(self, batch: Mapping[str, np.ndarray], loss_weight: float = 1.0) -> dict[str, tf.Tensor]:
        row_length = batch["token_ids"].shape[1]
        if row_length not in self._compiled:
            self._compiled[row_length] = self._compile(row_length)
        return self._compiled[row_length](dict(batch), tf.constant(loss_weight, tf.float32))

    def reset_totals(self, loss_total: float = 0.0, token_total: float = 0.0) -> None:
        """Sets the epoch's sums: to zero at its start, to saved values on resuming."""
        self.loss_total.assign(loss_total)
        self.token_total.assign(token_total)

    def _compile(self, row_length: int) -> Any:
        specs = {key: tf.TensorSpec((None, row_length), dtype) for key, dtype in BATCH_DTYPES.items()}
        return tf.function(
            self._step, input_signature=[specs, tf.TensorSpec((), tf.float32)], autograph=False
        )

    def _step(self, batch: dict[str, tf.Tensor], loss_weight: tf.Tensor) -> dict[str, tf.Tensor]:
        supervised = tf.reduce_sum(batch["loss_weights"])
        scales = {
            "loss": loss_weight / tf.maximum(supervised, 1.0),
            "aux": loss_weight,
            "tokens": tf.maximum(_num_tokens(batch), 1.0),
        }
        gradients, sums = self._sum_micro_batches(batch, scales)
        grad_norm = tf.linalg.global_norm(gradients)
        if self.gradient_clip is not None:
            factor = self.gradient_clip / tf.maximum(grad_norm, self.gradient_clip)
            gradients = [gradient * factor for gradient in gradients]
        learning_rate = tf.convert_to_tensor(self.optimizer.learning_rate)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        for layer in self._finishing:
            layer.finish_step()
        loss_sum = sums.pop("loss_sum")
        self.loss_total.assign_add(tf.cast(loss_sum, tf.float64))
        self.token_total.assign_add(tf.cast(supervised, tf.float64))
        return {
            "loss": loss_sum / tf.maximum(supervised, 1.0),
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
            **sums,
        }

    def _sum_micro_batches(
        self, batch: dict[str, tf.Tensor], scales: dict[str, tf.Tensor]
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Returns the gradients and the metric sums over all micro-batches of the batch."""
        size = self.micro_batch_size
        num_rows = tf.shape(batch["token_ids"])[0]

        def micro_batch(start: tf.Tensor) -> dict[str, tf.Tensor]:
            return {key: value[start : start + size] for key, value in batch.items()}

        # Tracing once tells the structure of the sums; the traced function itself is what the loop calls.
        traced = self._micro_gradients.get_concrete_function(micro_batch(tf.constant(0)), scales)
        _, names = traced.structured_outputs
        zeros = (
            [tf.zeros_like(variable) for variable in self._variables],
            {key: tf.zeros(()) for key in names},
        )

        def add_one(start: tf.Tensor, gradients: Any, sums: Any) -> tuple[Any, Any, Any]:
            more_gradients, more_sums = self._micro_gradients(micro_batch(start), scales)
            gradients = [a + b for a, b in zip(gradients, more_gradients, strict=True)]
            return start + size, gradients, {key: sums[key] + more_sums[key] for key in sums}

        _, gradients, sums = tf.while_loop(
            lambda start, *_: start < num_rows, add_one, (tf.constant(0), *zeros), parallel_iterations=1
        )
        return gradients, sums

    def _differentiate(
        self, micro_batch: dict[str, tf.Tensor], scales: dict[str, tf.Tensor]
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            with self.model.compiled_parts() if self._compiles_parts else nullcontext():
                terms = loss_terms(self.model, micro_batch, training=True)
            share = _num_tokens(micro_batch) / scales["tokens"]
            loss = scales["loss"] * terms["loss_sum"] + scales["aux"] * share * terms["aux_loss"]
        gradients = tape.gradient(loss, self._variables, unconnected_gradients="zero")
        sums = {"loss_sum": terms["loss_sum"], "aux_loss": share * terms["aux_loss"]}
        sums |= {name: share * value for name, value in terms["metrics"].items()}
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums


def _num_tokens(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(batch["segment_ids"] > 0, tf.float32))
