"""The mechanism of training: a model, its optimizer and the state of its steps on any number of devices."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.config import TrainingConfig
from highnoon.models.arrays import variable_names
from highnoon.training.checkpoints import snapshot
from highnoon.training.checkpoints.checkpoint import read_learner_state
from highnoon.training.objective import Objective, describe_objective
from highnoon.training.optimizers import FunctionalOptimizer, make_optimizer
from highnoon.training.steps.averaged_weights import averaged_weights
from highnoon.training.steps.evaluation import EvaluationStep, SplitSums
from highnoon.training.steps.finite_weights import find_non_finite
from highnoon.training.steps.replicas import Replicas, all_variables
from highnoon.training.steps.step import TrainStep, computes_in_float16
from highnoon.training.steps.step_state import FaultLimits, StepState
from highnoon.training.trainable_weights import TrainableWeights

OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


class Learner:
    """Takes optimizer steps, evaluates, and copies and restores all that they change.

    It has no notion of stages, intervals, callbacks or files: `TrainingRun` decides what happens when.
    A loop of one's own, whose data depend on the weights, is written on a learner.

    Args:
        model: The model, built; its variables are moved under the replicas' strategy.
        config: Optimizer, clipping, precision and limits of faults.
        schedule: Learning rate by optimizer step; its variables are under the strategy.
        replicas: The devices; None for one.
        jit_compile: Whether XLA compiles the forward and backward pass, see `TrainStep`.
        auto_batch: Whether a step that does not fit into memory is tried again with micro-batches of half
            the size, at the same global batch.
        objectives: Those that the steps will minimize: their frozen models are moved under the strategy, and
            their random states are part of a checkpoint.

    Attributes:
        optimizer: Has slots for the weights that are trained now.
        state: Counters and sums on the devices.
        micro_batch_size: Rows of one forward and backward pass of one replica.
        trainable: Patterns of the weights that are trained now; None for all.
        has_histograms: Whether steps that measure return histograms too; set before the first step.

    Example:

    ```python
    import keras
    import numpy as np
    from highnoon.config import TrainingConfig
    from highnoon.models import create_model
    from highnoon.training.learner import Learner
    from highnoon.training.objective import NextToken
    from highnoon.training.steps.run_schedule import RunSchedule

    model = create_model("highnoon-nano", vocab_size=64, max_seq_length=8, num_reasoning_blocks=1)
    learner = Learner(model, TrainingConfig(batch_size=2), RunSchedule([1e-3], [10], warmup_steps=0))
    ids = np.ones((2, 8), np.int32)
    batch = {"token_ids": ids, "labels": ids, "segment_ids": ids, "positions": ids * 0}
    metrics = learner.step({**batch, "loss_weights": ids.astype("float32")}, NextToken())
    assert float(metrics["loss"]) > 0
    ```
    """

    def __init__(
        self,
        model: keras.Model,
        config: TrainingConfig,
        schedule: Any,
        replicas: Replicas | None = None,
        *,
        jit_compile: bool | None = None,
        auto_batch: bool = False,
        objectives: Sequence[Objective] = (),
    ) -> None:
        self.model, self.config, self.schedule = model, config, schedule
        self.replicas = replicas or Replicas()
        self.jit_compile, self.auto_batch = jit_compile, auto_batch
        self.has_histograms = False
        self.micro_batch_size = config.batch_size
        self.replicas.adopt(all_variables(model))
        self._objectives = list(objectives)
        for objective in self._objectives:
            self._adopt(objective)
        self.trainable: list[str] | None = None
        self._selection = TrainableWeights(model)
        with self.replicas.strategy.scope():
            self.state = StepState()
            self.optimizer = make_optimizer(model, config, schedule)
        self._steps: dict[Any, TrainStep] = {}
        self._step: TrainStep | None = None  # the one taken last
        self._evaluations: dict[Any, EvaluationStep] = {}
        self._may_take_several = False

    def start_stage(self, micro_batch_size: int, trainable: Sequence[str] | None = None) -> None:
        """Prepares for other batches: the first step of a stage is taken alone, to see whether it fits.

        Args:
            micro_batch_size: Rows of one forward and backward pass of one replica.
            trainable: Patterns of the weights to train; None for all. Weights that were trained before and
                still are keep their slots; those of the others are dropped.
        """
        self.micro_batch_size, self._may_take_several = micro_batch_size, False
        self.select_trainable(trainable)

    def select_trainable(self, patterns: Sequence[str] | None) -> None:
        """Trains the weights that patterns select from now on, see `TrainableWeights`.

        Raises:
            ConfigError: a pattern selects no weight.
        """
        patterns = None if patterns is None else list(patterns)
        if patterns == self.trainable:
            return
        before = self.optimizer
        self._selection.select(patterns)
        # One of Keras has slots for all weights, and updates those that a stage trains.
        if isinstance(before, FunctionalOptimizer):
            with self.replicas.strategy.scope():
                optimizer = make_optimizer(self.model, self.config, self.schedule)
            assert isinstance(optimizer, FunctionalOptimizer)
            optimizer.carry_over(before)
            self.optimizer = optimizer
            if getattr(self.model, "optimizer", None) is before:
                self.model.optimizer = self.optimizer
        self.trainable = patterns
        self._steps.clear()
        self._step = None

    def release(self) -> None:
        """Gives the model's weights the `trainable` flags that they had before."""
        self._selection.select(None)

    def can_take_several(self) -> bool:
        """Whether a step of this stage was taken alone, which `several` repeats."""
        return self._may_take_several

    def step(
        self, batch: Any, objective: Objective, loss_weight: float = 1.0, measures: bool = False
    ) -> dict[str, Any]:
        """Takes one optimizer step; see `TrainStep` for what it returns.

        Args:
            batch: A dict of the objective's columns, or what `Replicas.read` returned.
            objective: What is minimized.
            loss_weight: Factor on the loss.
            measures: Whether to measure gradients and weights.

        Raises:
            ResourceExhaustedError: the step does not fit into memory.
        """
        while True:
            try:
                results = self._step_of(objective)(batch, loss_weight, measures)
            except OUT_OF_MEMORY:
                if not self.auto_batch or self.micro_batch_size == 1:
                    raise
                self.micro_batch_size //= 2
                continue
            self._may_take_several = True
            return results

    def several(
        self, batches: Any, objective: Objective, loss_weight: float = 1.0, measures_last: bool = False
    ) -> dict[str, Any]:
        """Takes several steps in one call of the device; see `TrainStep.several`."""
        return self._step_of(objective).several(batches, loss_weight, measures_last)

    def evaluate(self, batches: Iterable[Mapping[str, np.ndarray]], objective: Objective) -> SplitSums:
        """Returns an objective's sums over batches; nothing that training reads is changed.

        The weight is 0 where nothing in them counts (no supervised token).
        """
        key = _key(objective)
        if key not in self._evaluations:
            self._adopt(objective)
            self._evaluations[key] = EvaluationStep(self.model, self.replicas, objective)
        return self._evaluations[key].sums(batches)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the model has its averaged weights, if the optimizer keeps any."""
        return averaged_weights(self.model, self.optimizer)

    def average_names(self, trainable: Sequence[str] | None) -> dict[str, str]:
        """Returns, for each weight whose average is in a checkpoint, the name of that array.

        Args:
            trainable: Patterns of the weights that were trained when the checkpoint was written.
        """
        with self.replicas.strategy.scope():
            weights = self._selection.matching(trainable)
            is_now = list(trainable or ()) == list(self.trainable or ())
            is_own = isinstance(self.optimizer, FunctionalOptimizer)
            optimizer = (
                make_optimizer(self.model, self.config, self.schedule, weights)
                if is_own and not is_now
                else self.optimizer
            )
        weight_names = _names(self.model.weights)
        array_names = _names(optimizer.variables)
        return {
            weight_names[id(weight)]: snapshot.OPTIMIZER + array_names[id(average)]
            for weight, average in zip(weights, optimizer.averages(), strict=False)
        }

    def find_non_finite(self) -> str | None:
        """Returns the name of a weight or average that is not finite, or None."""
        return find_non_finite([*self.model.weights, *self.optimizer.averages()])

    def capture(
        self,
        tokenizer: Any | None = None,
        state: Mapping[str, Any] | None = None,
        trained_weights: Mapping[str, np.ndarray] | None = None,
    ) -> Callable[[pathlib.Path], None]:
        """Copies all that a checkpoint holds to the host and returns what writes it into an existing folder.

        Args:
            tokenizer: Written next to the model.
            state: What else the checkpoint says, as JSON values.
            trained_weights: The weights that training continues with, if the model's are others.
        """
        learner = {"trainable": self.trainable, "slots_since": self.optimizer.slots_since()}
        return snapshot.capture(
            self.model,
            self.optimizer,
            self.state,
            tokenizer,
            {
                **(state or {}),
                "learner": learner,
                "weight_paths": [weight.path for weight in self.model.weights],
            },
            trained_weights,
            self._random_states(),
        )

    def restore(self, folder: pathlib.Path) -> None:
        """Gives model, optimizer and state what a checkpoint holds.

        Raises:
            CheckpointError: it belongs to another model, optimizer or objective.
        """
        saved = read_learner_state(folder)
        self.select_trainable(saved["trainable"])
        snapshot.restore(
            self.model,
            self.optimizer,
            self.state,
            folder,
            self._random_states(),
            saved["weight_paths"],
        )
        self.optimizer.set_slots_since(saved["slots_since"])

    def _step_of(self, objective: Objective) -> TrainStep:
        if self._step is not None and self._step.objective is objective:
            if self._step.micro_batch_size == self.micro_batch_size:
                return self._step
        key = self.micro_batch_size, _key(objective)
        if key not in self._steps:
            self._adopt(objective)
            self._steps[key] = TrainStep(
                self.model,
                self.optimizer,
                self.micro_batch_size,
                self.config.gradient_clip,
                self.jit_compile,
                self.replicas,
                self.state,
                FaultLimits(self.config.spike_threshold, computes_in_float16(self.model)),
                objective,
                has_histograms=self.has_histograms,
            )
        self._step = self._steps[key]
        return self._step

    def _adopt(self, objective: Objective) -> None:
        """Moves what an objective reads under the strategy."""
        for frozen in objective.frozen_models().values():
            self.replicas.adopt(all_variables(frozen))
        self.replicas.adopt(seed.state for seed in objective.seed_generators())

    def _random_states(self) -> dict[str, keras.Variable]:
        """Returns the random states of the objectives, by name; those that are shared only once."""
        return {
            f"{index}/{number}": seed.state
            for index, objective in enumerate(self._objectives)
            for number, seed in enumerate(objective.seed_generators())
        }


def _key(objective: Objective) -> Any:
    """Returns what is equal for objectives that compute the same, so that they share compiled functions."""
    own = [*objective.frozen_models().values(), *objective.seed_generators()]
    described = json.dumps(describe_objective(objective), sort_keys=True)
    return described, tuple(objective.tasks), tuple(map(id, own))


def _names(variables: Sequence[keras.Variable]) -> dict[int, str]:
    names = variable_names(variables)
    return {id(variable): name for variable, name in zip(variables, names, strict=True)}
