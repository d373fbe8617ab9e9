"""What the checks of an objective run: its terms, gradients and some training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from highnoon.training.objective import Objective

_NUM_STEPS = 20
_BETA_1 = 0.9


@dataclasses.dataclass(frozen=True)
class TermValues:
    """The terms of a batch as arrays; `aux_loss` is None where it was not computed."""

    loss_sum: float
    weight: float
    aux_weight: float
    aux_loss: float | None
    metrics: Mapping[str, tuple[np.ndarray, float]]

    def named(self) -> dict[str, np.ndarray]:
        """Returns all values by name."""
        values: dict[str, Any] = {
            "loss_sum": self.loss_sum,
            "weight": self.weight,
            "aux_weight": self.aux_weight,
        }
        if self.aux_loss is not None:
            values["aux_loss"] = self.aux_loss
        for name, (total, weight) in self.metrics.items():
            values[f"total of {name}"], values[f"weight of {name}"] = total, weight
        return {name: np.asarray(value, np.float64) for name, value in values.items()}


def evaluate_terms(objective: Objective, model: keras.Model, batch: Mapping[str, Any]) -> TermValues:
    """Returns the terms of a batch, computed eagerly as in training; a model that is not built is built."""
    tensors = {name: keras.ops.convert_to_tensor(batch[name]) for name in objective.columns}
    if not model.built:
        objective.terms(model, tensors, training=False)
    with keras.StatelessScope(collect_losses=True, state_mapping=[]):
        terms = objective.terms(model, tensors, training=True)
        weight, aux_weight = objective.weight(tensors), objective.aux_weight(tensors)
    metrics = {name: (_array(metric.total), _number(metric.weight)) for name, metric in terms.metrics.items()}
    return TermValues(
        _number(terms.loss_sum), _number(weight), _number(aux_weight), _number(terms.aux_loss), metrics
    )


def gradient_function(objective: Objective, model: keras.Model) -> Callable[..., Any]:
    """Returns a function of weights and batch that gives the loss sum and its gradients (TensorFlow only)."""
    import tensorflow as tf

    weights = model.trainable_variables

    def function(values: Any, batch: Mapping[str, Any]) -> Any:
        tensors = {name: tf.convert_to_tensor(batch[name]) for name in objective.columns}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            pairs = list(zip(weights, values, strict=True))
            with keras.StatelessScope(collect_losses=True, state_mapping=pairs):
                loss = objective.terms(model, tensors, training=True).loss_sum
        gradients = tape.gradient(loss, values, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    return function


def logical_processors() -> list[Any]:
    """Returns TensorFlow's logical processors; this starts TensorFlow."""
    import tensorflow as tf

    return list(tf.config.list_logical_devices("CPU"))


def train(
    objective: Objective,
    model: keras.Model,
    batch: Mapping[str, np.ndarray],
    micro_batch_size: int,
    num_replicas: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Takes 20 steps of AdamW; returns the first step's reduced gradient and the weights, both flat."""
    step, optimizer = _training_step(objective, model, batch, micro_batch_size, num_replicas)
    step(batch)
    means = [optimizer.slots_of(weight)["mean"] for weight in model.trainable_variables]
    gradient = np.concatenate([_array(mean).reshape(-1) for mean in means]) / (1.0 - _BETA_1)
    for _ in range(_NUM_STEPS - 1):
        step(batch)
    weights = np.concatenate([_array(weight).reshape(-1) for weight in model.trainable_variables])
    return gradient, weights


def continue_training(
    make_objective: Callable[[], Objective],
    make_model: Callable[[], keras.Model],
    batch: Mapping[str, np.ndarray],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the variables after four steps, and after two and two with new objects in between."""
    ends = []
    for stops in (False, True):
        objective, model = make_objective(), make_model()
        step, optimizer = _training_step(objective, model, batch, 4, 1)
        for _ in range(2):
            step(batch)
        if stops:
            saved = [_array(variable) for variable in _state(step, model, optimizer, objective)]
            objective, model = make_objective(), make_model()
            step, optimizer = _training_step(objective, model, batch, 4, 1)
            for variable, value in zip(_state(step, model, optimizer, objective), saved, strict=True):
                variable.assign(value)
        for _ in range(2):
            step(batch)
        ends.append([_array(variable) for variable in _state(step, model, optimizer, objective)])
    return ends[0], ends[1]


def _training_step(
    objective: Objective,
    model: keras.Model,
    batch: Mapping[str, Any],
    micro_batch_size: int,
    num_replicas: int,
) -> tuple[Any, Any]:
    import tensorflow as tf

    from highnoon.training.optimizers.adamw import AdamW
    from highnoon.training.steps.replicas import Replicas, all_variables
    from highnoon.training.steps.step import TrainStep
    from highnoon.training.steps.step_state import StepState

    evaluate_terms(objective, model, batch)
    strategy = None
    if num_replicas > 1:
        devices = [f"/cpu:{number}" for number in range(num_replicas)]
        strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
    replicas = Replicas(strategy)
    with replicas.strategy.scope():
        state = StepState()
        for owner in (model, *objective.frozen_models().values()):
            replicas.adopt(all_variables(owner))
        replicas.adopt([seed.state for seed in objective.seed_generators()])
        optimizer = AdamW(1e-2, beta_1=_BETA_1, epsilon=1e-3)
        optimizer.build(model.trainable_variables)
    step = TrainStep(
        model,
        optimizer,
        micro_batch_size,
        gradient_clip=None,
        jit_compile=False,
        replicas=replicas,
        state=state,
        objective=objective,
    )
    return step, optimizer


def _state(step: Any, model: keras.Model, optimizer: Any, objective: Objective) -> list[Any]:
    """What a checkpoint holds."""
    from highnoon.training.steps.replicas import all_variables

    seeds = [seed.state for seed in objective.seed_generators()]
    return [*all_variables(model), *optimizer.variables, *step.state.variables, *seeds]


def _array(value: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(value))


def _number(value: Any) -> float:
    array = _array(value)
    assert array.shape == (), f"sums, losses and weights must be scalars; received shape {array.shape}"
    return float(array)
