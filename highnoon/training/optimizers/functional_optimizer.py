"""An optimizer whose update is a function of tensors."""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from highnoon.config import require_number

_NEVER_DECAYED = re.compile(r"embedding|norm|bias|gamma|beta|scale")


def is_decayed(variable: keras.Variable) -> bool:
    """Whether weight decay applies to a variable: to matrices, not to norms, biases and embeddings."""
    return len(variable.shape) >= 2 and not _NEVER_DECAYED.search(variable.path.lower())


class FunctionalOptimizer(keras.optimizers.Optimizer):
    """Base class of the optimizers.

        w, slots <- update(g, w, slots, t, lr * f)

    Because the update is a function of tensors, XLA can compile it, it can be skipped when a gradient is not
    finite, and it is the same on every replica. Keras's `fit` applies the same update.

    Args:
        learning_rate: A float, or a schedule of the number of updates done.
        weight_decay: Decoupled decay, multiplied by the learning rate, for weights that `is_decayed` selects.
        use_ema: Whether to average the weights; the averages are Keras's own, so
            `keras.callbacks.SwapEMAWeights` and `finalize_variable_values` work.
        ema_momentum: Decay of the moving average.
        name: Name of the optimizer.

    `learning_rate_factor`, a scalar variable with initial value 1, is f: callbacks multiply it to reduce the
    learning rate of a run with a fixed schedule. It is saved with the slots.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float = 0.0,
        use_ema: bool = False,
        ema_momentum: float = 0.999,
        name: str | None = None,
        **options: Any,
    ) -> None:
        if isinstance(learning_rate, (numbers.Real, str)):
            learning_rate = require_number("learning_rate", learning_rate, above=0)
        weight_decay = require_number("weight_decay", weight_decay, least=0)
        if use_ema:
            ema_momentum = require_number("ema_momentum", ema_momentum, least=0, below=1)
        super().__init__(
            learning_rate, weight_decay=None, use_ema=use_ema, ema_momentum=ema_momentum, name=name, **options
        )
        self.decay = weight_decay
        self._slots_since: list[int] = []
        self.learning_rate_factor = self.add_variable(
            (),
            initializer="ones",
            dtype="float32",
            name="learning_rate_factor",
            aggregation="only_first_replica",
        )

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._slots = [
            {
                slot: self.add_variable(
                    shape, dtype="float32", name=f"{variable.path.replace('/', '_')}_{slot}"
                )
                for slot, shape in self.slot_shapes(variable).items()
            }
            for variable in variables
        ]

    def slot_shapes(self, variable: keras.Variable) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the slots of a variable, by name."""
        raise NotImplementedError

    def update(
        self,
        variable: keras.Variable,
        gradient: Any,
        weight: Any,
        slots: dict[str, Any],
        step: Any,
        rate: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Returns the new weight and slots.

        Args:
            variable: The updated variable: only its path and shape may be used, not its value.
            gradient: Of the shape of the weight, float32.
            weight: float32.
            slots: float32, by name.
            step: Number of updates, including this one; float32 scalar.
            rate: Learning rate of this step, a float32 scalar.
        """
        raise NotImplementedError

    def kind(self, variable: keras.Variable) -> Any:
        """Returns what `update` uses of a variable; variables of one kind share a compiled function."""
        return tuple(variable.shape), is_decayed(variable)

    def slots_of(self, variable: keras.Variable) -> dict[str, keras.Variable]:
        """Returns the slots of a variable, by name; the optimizer must be built."""
        return self._slots[self._get_variable_index(variable)]

    def age(self, variable: keras.Variable) -> int:
        """Returns how many updates the optimizer had done when a weight's slots were made."""
        return self._slots_since[self._get_variable_index(variable)] if any(self._slots_since) else 0

    def slots_since(self) -> list[int]:
        """Returns `age` of each weight; empty if all slots were made at the beginning."""
        return list(self._slots_since) if any(self._slots_since) else []

    def set_slots_since(self, ages: Sequence[int]) -> None:
        """Sets what `slots_since` returns."""
        self._slots_since = list(ages)

    def carry_over(self, before: FunctionalOptimizer) -> None:
        """Takes over the count of updates from an optimizer, and the slots of the weights that both train.

        The slots of the other weights are new: their bias correction counts from here.

        Args:
            before: Of the same class and options, for other weights of the same model.
        """
        self.iterations.assign(before.iterations)
        self.learning_rate_factor.assign(before.learning_rate_factor)
        if isinstance(self._learning_rate, keras.Variable):
            self._learning_rate.assign(before._learning_rate)
        known = {id(variable): index for index, variable in enumerate(before._trainable_variables)}
        now = int(keras.ops.convert_to_numpy(before.iterations))
        ages = []
        for index, variable in enumerate(self._trainable_variables):
            is_known = id(variable) in known
            ages.append(before.age(variable) if is_known else now)
            if is_known:
                for name, slot in before.slots_of(variable).items():
                    self._slots[index][name].assign(slot)
            if self.use_ema:
                averages = before._model_variables_moving_average
                average = averages[known[id(variable)]] if is_known else variable
                self._model_variables_moving_average[index].assign(average)
        self._slots_since = ages

    def cut_learning_rate(self, by: float) -> None:
        """Multiplies the learning rate of all further steps."""
        self.learning_rate_factor.assign(by * self.learning_rate_factor)

    def learning_rate_variables(self) -> list[keras.Variable]:
        """Returns the variables that setting the learning rate changes."""
        own = [self._learning_rate] if isinstance(self._learning_rate, keras.Variable) else []
        return [self.learning_rate_factor, *own]

    def averages(self) -> list[keras.Variable]:
        """Returns the averaged weights, in the order of the weights; empty without `use_ema`."""
        return list(self._model_variables_moving_average) if self.use_ema else []

    def decayed(self, variable: keras.Variable, weight: Any, rate: Any) -> Any:
        """Returns the weight after its decay."""
        return weight * (1.0 - rate * self.decay) if self.decay and is_decayed(variable) else weight

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        slots = self.slots_of(variable)
        weight, new = self.update(
            self._trainable_variables[self._get_variable_index(variable)],  # TensorFlow's `fit` gives its own
            ops.cast(gradient, "float32"),
            ops.cast(variable, "float32"),
            {name: ops.convert_to_tensor(slot) for name, slot in slots.items()},
            ops.cast(self.iterations + 1, "float32"),
            ops.cast(learning_rate, "float32"),
        )
        self.assign(variable, ops.cast(weight, variable.dtype))
        for name, slot in slots.items():
            self.assign(slot, new[name])

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the next update; it can be set where no schedule changes it."""
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        schedule = self._learning_rate
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule) or callable(value):
            keras.optimizers.Optimizer.learning_rate.fset(self, value)
        elif getattr(schedule, "is_constant", False):
            rate = np.float32(ops.convert_to_numpy(schedule(self.iterations)))
            self.learning_rate_factor.assign(_factor(rate, np.float32(value)))
        else:
            raise TypeError(
                "the learning rate follows the schedule of the run and cannot be set; train with "
                "schedule='constant' and warmup_steps=0, or with an optimizer of Keras"
            )

    def _get_current_learning_rate(self) -> Any:
        return super()._get_current_learning_rate() * self.learning_rate_factor

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"weight_decay": self.decay}


def _factor(rate: np.float32, value: np.float32) -> np.float32:
    """Returns the factor that takes one learning rate to another, to the last bit where there is one."""
    factor = value / rate
    near = (np.nextafter(factor, np.float32(limit)) for limit in (-np.inf, np.inf))
    return next((close for close in (factor, *near) if rate * close == value), factor)
