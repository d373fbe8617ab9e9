"""The update of any optimizer of Keras as a function of tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops


class StatelessOptimizer(keras.optimizers.Optimizer):
    """Base that computes the update of a Keras optimizer on tensors, and assigns nothing.

    `rebuild_optimizer` puts it behind the optimizer's own class, so that the class's `update_step`, its
    clipping, decay, averages and constraints act as under `fit`. Like `FunctionalOptimizer`, the update can
    then be skipped and is the same on every replica.

    Attributes:
        learning_rate_factor: What a run multiplied the learning rate by, after faults or alerts.
    """

    ema_overwrite_frequency: int | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._computes_on_tensors = False
        self._overwrites_every: int | None = None
        self.learning_rate_factor = self.add_variable(
            (),
            initializer="ones",
            dtype="float32",
            name="learning_rate_factor",
            aggregation="only_first_replica",
        )

    def updated(
        self,
        gradients: Sequence[Any],
        weights: Sequence[keras.Variable],
        weight_values: Sequence[Any],
        values: Sequence[Any],
    ) -> tuple[list[Any], list[Any]]:
        """Returns the values of the weights, and of the optimizer's `variables`, after one update.

        Args:
            gradients: One a weight.
            weights: Some or all of the variables that the optimizer was built for.
            weight_values: Their values.
            values: Those of `variables`.
        """
        variables = self.variables
        pairs = [*zip(weights, weight_values, strict=True), *zip(variables, values, strict=True)]
        with self._on_tensors(), keras.StatelessScope(state_mapping=pairs) as scope:
            self.apply(list(gradients), list(weights))
        new_weights = [scope.get_current_value(weight) for weight in weights]
        return new_weights, [scope.get_current_value(variable) for variable in variables]

    def averages(self) -> list[keras.Variable]:
        """Returns the averaged weights, in the order of the weights; empty without `use_ema`."""
        return list(self._model_variables_moving_average) if self.use_ema else []

    def slots_since(self) -> list[int]:
        """Returns nothing: the slots of all weights are made at the beginning."""
        return []

    def set_slots_since(self, ages: Sequence[int]) -> None:
        """Accepts what `slots_since` returned."""

    def learning_rate_variables(self) -> list[keras.Variable]:
        """Returns the variables that setting the learning rate changes."""
        own = [self._learning_rate] if isinstance(self._learning_rate, keras.Variable) else []
        return [self.learning_rate_factor, *own]

    def cut_learning_rate(self, by: float) -> None:
        """Multiplies the learning rate of all further steps."""
        self.learning_rate_factor.assign(by * self.learning_rate_factor)
        if isinstance(self._learning_rate, keras.Variable):
            self._learning_rate.assign(by * self._learning_rate)

    def assign(self, variable: Any, value: Any) -> None:
        if self._computes_on_tensors:
            variable.assign(value)
        else:
            super().assign(variable, value)

    def assign_add(self, variable: Any, value: Any) -> None:
        if self._computes_on_tensors:
            variable.assign(variable + value)
        else:
            super().assign_add(variable, value)

    def assign_sub(self, variable: Any, value: Any) -> None:
        if self._computes_on_tensors:
            variable.assign(variable - value)
        else:
            super().assign_sub(variable, value)

    @contextlib.contextmanager
    def _on_tensors(self) -> Iterator[None]:
        # Keras overwrites the weights in a branch, which cannot assign on tensors.
        every = self.ema_overwrite_frequency
        self.ema_overwrite_frequency = None
        self._computes_on_tensors, self._overwrites_every = True, every
        try:
            yield
        finally:
            self._computes_on_tensors, self._overwrites_every = False, None
            self.ema_overwrite_frequency = every

    def _var_key(self, variable: keras.Variable) -> int:
        # The value of a variable, which Keras takes the key from, is a tensor here.
        return id(variable)

    def _get_current_learning_rate(self) -> Any:
        rate = super()._get_current_learning_rate()
        # A variable is cut itself, so that `learning_rate.assign` works as in Keras.
        return rate if isinstance(rate, keras.Variable) else rate * self.learning_rate_factor

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        if not self._computes_on_tensors:
            super()._apply_weight_decay(variables)
        elif self.weight_decay is not None:
            for variable in variables:
                if self._use_weight_decay(variable):
                    rate = ops.cast(self.learning_rate, variable.dtype)
                    decay = ops.cast(self.weight_decay, variable.dtype)
                    variable.assign(variable - variable * decay * rate)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable], learning_rate: Any
    ) -> None:
        if not self._computes_on_tensors:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            self.update_step(gradient, variable, learning_rate)

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[keras.Variable]) -> None:
        """Averages, and overwrites the weights where it is time: without the branch that Keras takes."""
        super()._update_model_variables_moving_average(trainable_variables)
        if self._computes_on_tensors and self._overwrites_every:
            is_due = (self.iterations + 1) % self._overwrites_every == 0
            for variable, average in zip(
                trainable_variables, self._model_variables_moving_average, strict=True
            ):
                variable.assign(ops.where(is_due, average, variable))
