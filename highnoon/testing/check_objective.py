"""What every objective must keep. Each check is a function; `check_objective` calls them all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from highnoon.testing.objective_runs import (
    TermValues,
    continue_training,
    evaluate_terms,
    gradient_function,
    logical_processors,
    train,
)
from highnoon.testing.other_process import in_other_process
from highnoon.training.frozen_models import weights_hash
from highnoon.training.objective import Objective, describe_objective, objective_from_config
from highnoon.training.steps.batch_columns import pad_rows, row_shapes
from highnoon.training.steps.evaluation import EvaluationStep

NUM_ROWS = 8
Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ObjectiveCase:
    """An objective to check, with a model and data for it.

    Args:
        make_objective: Returns the objective.
        make_model: Returns a small model in float32, without dropout, the same each time.
        batch: Eight rows with the objective's columns.
        is_exact: Whether the loss's gradient is all of its derivative; False for objectives that stop
            gradients on purpose.
        reloads: Whether the objective can be made from its configuration; False where it holds a model in
            memory.
        has_row_metrics: Whether metrics are sums over rows; False where layers report means over a
            micro-batch, as routers do.
    """

    make_objective: Callable[[], Objective]
    make_model: Callable[[], keras.Model]
    batch: Batch
    is_exact: bool = True
    reloads: bool = True
    has_row_metrics: bool = True


def check_objective(
    make_objective: Callable[[], Objective],
    make_model: Callable[[], keras.Model],
    batch: Batch,
    *,
    is_exact: bool = True,
    reloads: bool = True,
    has_row_metrics: bool = True,
    replicas: bool = True,
    jax: bool = True,
) -> None:
    """Fails where an objective breaks what the training step relies on.

    Checked are the columns, the configuration, that terms are the same in each call, in any order of rows and
    with rows of padding; sums and gradients against a loop over single rows, and gradients against finite
    differences; graph and XLA against eager; the evaluation in parts against one batch; 1 x 8, 8 x 1 and 2
    replicas against one another; resuming; that frozen models stay as they are; and the terms under JAX.

    Two replicas need two logical processors, and JAX another backend of Keras. Both run in a process of their
    own (the replicas only if this one has a single processor), so the two functions must be importable: at
    the top of a module.

    Args:
        make_objective: Returns the objective.
        make_model: Returns a small model in float32, without dropout, the same each time.
        batch: Eight rows with the objective's columns.
        is_exact: As of `ObjectiveCase`, like the following.
        reloads: Whether the objective can be made from its configuration.
        has_row_metrics: Whether metrics are sums over rows.
        replicas: Whether two replicas are compared.
        jax: Whether the terms are compared with those under JAX.

    Raises:
        AssertionError: naming what does not hold.
    """
    case = ObjectiveCase(make_objective, make_model, batch, is_exact, reloads, has_row_metrics)
    checks = [
        check_columns,
        check_config,
        check_repeated_calls,
        check_padding_rows,
        check_order_of_rows,
        check_loop_over_rows,
        check_compiled_forms,
        check_finite_differences,
        check_evaluation,
        check_micro_batches,
        check_resuming,
        *([check_replicas] if replicas else []),
        *([check_jax] if jax else []),
    ]
    for check in checks:
        try:
            check(case)
        except AssertionError:
            raise
        except Exception as error:
            first = " ".join(str(error).split())[:300]
            raise AssertionError(f"{check.__name__}: {type(error).__name__}: {first}") from error


def check_columns(case: ObjectiveCase) -> None:
    """A batch has the declared columns, types and axes, and eight rows."""
    objective = case.make_objective()
    row_shapes(objective.columns, case.batch)
    for name, column in objective.columns.items():
        array = case.batch[name]
        assert len(array) == NUM_ROWS, f"`{name}` must have {NUM_ROWS} rows; received {len(array)}"
        assert array.dtype == column.dtype, f"`{name}` must be {column.dtype}; received {array.dtype}"


def check_config(case: ObjectiveCase) -> None:
    """The configuration is JSON, stays the same, and describes the objective."""
    objective, model = case.make_objective(), case.make_model()
    described = json.loads(json.dumps(describe_objective(objective)))
    before = evaluate_terms(objective, model, case.batch)
    again = json.loads(json.dumps(describe_objective(objective)))
    assert again == described, f"the configuration changes while it is used: {described} became {again}"
    if case.reloads:
        copy = objective_from_config(described)
        assert json.loads(json.dumps(describe_objective(copy))) == described, "a copy has another config"
        _assert_equal(evaluate_terms(copy, model, case.batch), before, 0, "a copy by configuration")


def check_repeated_calls(case: ObjectiveCase) -> None:
    """Terms depend on model and batch alone: another call gives the same."""
    objective, model = case.make_objective(), case.make_model()
    first = evaluate_terms(objective, model, case.batch)
    for _ in range(2):
        _assert_equal(evaluate_terms(objective, model, case.batch), first, 0, "another call")
    assert np.isfinite(first.loss_sum) and first.weight > 0, f"loss sum and weight are {first}"


def check_padding_rows(case: ObjectiveCase) -> None:
    """Rows of padding add nothing to any sum."""
    objective, model = case.make_objective(), case.make_model()
    padded = pad_rows(objective.columns, case.batch, 3)
    alone, longer = (evaluate_terms(objective, model, rows) for rows in (case.batch, padded))
    _assert_equal(longer, alone, 1e-5, "a batch with rows of padding")
    only = {name: array[NUM_ROWS:] for name, array in padded.items()}
    empty = evaluate_terms(objective, model, only)
    sums = (empty.weight, empty.aux_weight, empty.loss_sum)
    assert sums == (0.0, 0.0, 0.0), f"rows of padding have weight, auxiliary weight and loss {sums}, not 0"


def check_order_of_rows(case: ObjectiveCase) -> None:
    """The order of rows does not matter."""
    objective, model = case.make_objective(), case.make_model()
    order = np.random.default_rng(0).permutation(NUM_ROWS)
    shuffled = {name: array[order] for name, array in case.batch.items()}
    first = evaluate_terms(objective, model, case.batch)
    _assert_equal(evaluate_terms(objective, model, shuffled), first, 1e-5, "another order of rows")


def check_loop_over_rows(case: ObjectiveCase) -> None:
    """Sums and gradients of a batch are those of its rows, added up in a naive loop."""
    objective, model = case.make_objective(), case.make_model()
    whole = evaluate_terms(objective, model, case.batch)
    parts = [evaluate_terms(objective, model, _row(case.batch, row)) for row in range(NUM_ROWS)]
    expected = _sum(parts, has_row_metrics=case.has_row_metrics)
    _assert_equal(whole, expected, 1e-5, "a batch, instead of its rows one by one,")
    function = gradient_function(objective, model)
    values = _values(model)
    _, gradients = function(values, dict(case.batch))
    rows = [function(values, _row(case.batch, row))[1] for row in range(NUM_ROWS)]
    error = _difference(gradients, [sum(parts) for parts in zip(*rows, strict=True)])
    assert error <= 1e-5, f"the gradient differs from that of a loop over rows by {error:.1e} of its norm"
    assert _norm(gradients) > 0, "the gradient is zero"


def check_compiled_forms(case: ObjectiveCase) -> None:
    """Loss and gradient in graph mode and under XLA equal the eager ones."""
    objective, model = case.make_objective(), case.make_model()
    evaluate_terms(objective, model, case.batch)
    function = gradient_function(objective, model)
    values = _values(model)
    batch = {name: tf.convert_to_tensor(array) for name, array in case.batch.items()}
    loss, gradients = function(values, batch)
    for form, jit_compile in (("graph", False), ("XLA", True)):
        compiled = tf.function(function, autograph=False, jit_compile=jit_compile)
        other_loss, other = compiled(values, batch)
        error = max(_difference([other_loss], [loss]), _difference(other, gradients))
        assert error <= 1e-4, f"{form} differs from eager by {error:.1e}"


def check_finite_differences(case: ObjectiveCase) -> None:
    """The gradient of each weight is the derivative of the loss sum along it."""
    if not case.is_exact:
        return
    objective, model = case.make_objective(), case.make_model()
    evaluate_terms(objective, model, case.batch)
    function = tf.function(gradient_function(objective, model), autograph=False)
    values = _values(model)
    batch = {name: tf.convert_to_tensor(array) for name, array in case.batch.items()}
    loss, gradients = function(values, batch)
    total = _norm(gradients)
    rng = np.random.default_rng(0)
    for index, (weight, gradient) in enumerate(zip(values, gradients, strict=True)):
        is_zero = _norm([gradient]) == 0.0
        direction = tf.constant(rng.normal(size=weight.shape), tf.float32) if is_zero else gradient
        direction = direction / _norm([direction])
        size = 2e-3 * max(_norm([weight]), 0.1 * float(tf.size(weight)) ** 0.5)
        around = []
        for sign in (1.0, -1.0):
            moved = [*values]
            moved[index] = weight + sign * size * direction
            around.append(float(function(moved, batch)[0]))
        slope, expected = (around[0] - around[1]) / (2 * size), float(tf.reduce_sum(gradient * direction))
        allowed = 0.03 * abs(expected) + 0.003 * total + 1e-6 * abs(float(loss)) / size
        path = model.trainable_variables[index].path
        assert abs(slope - expected) <= allowed, (
            f"along the gradient of {path} the loss changes by {slope:.4g}, and the gradient says "
            f"{expected:.4g}: a part of the loss is not differentiated"
        )


def check_evaluation(case: ObjectiveCase) -> None:
    """Evaluating in batches of three gives the figures of one batch."""
    objective, model = case.make_objective(), case.make_model()
    evaluate_terms(objective, model, case.batch)
    step = EvaluationStep(model, objective=objective)
    whole = step([case.batch])
    starts = range(0, NUM_ROWS, 3)
    parts = step([{name: array[start : start + 3] for name, array in case.batch.items()} for start in starts])
    assert abs(parts.loss - whole.loss) <= 1e-5 * max(1.0, abs(whole.loss)), (
        f"batches of three have the loss {parts.loss:.7g}, one batch {whole.loss:.7g}"
    )
    if not case.has_row_metrics:
        return
    figures = [objective.report(split.loss, split.metrics) for split in (parts, whole)]
    for name, figure in figures[1].items():
        assert np.isclose(figures[0][name], figure, rtol=1e-5, atol=1e-6), (
            f"batches of three report {name}={figures[0][name]:.7g}, one batch {figure:.7g}"
        )


def check_micro_batches(case: ObjectiveCase) -> None:
    """One micro-batch of eight rows and eight of one give one gradient, and weights after 20 AdamW steps.

    Frozen models have the same weights afterwards.
    """
    objective = case.make_objective()
    hashes = {name: weights_hash(frozen) for name, frozen in objective.frozen_models().items()}
    whole = train(objective, case.make_model(), case.batch, NUM_ROWS)
    _assert_same_training(train(case.make_objective(), case.make_model(), case.batch, 1), whole, "8 x 1")
    for name, frozen in objective.frozen_models().items():
        assert weights_hash(frozen) == hashes[name], f"training changes the frozen model `{name}`"


def check_resuming(case: ObjectiveCase) -> None:
    """Training that is continued by new objects from saved variables ends with the same bits."""
    whole, resumed = continue_training(case.make_objective, case.make_model, case.batch)
    for index, (one, other) in enumerate(zip(whole, resumed, strict=True)):
        assert np.array_equal(one, other), f"variable {index} differs after resuming: a state is not saved"


def check_replicas(case: ObjectiveCase) -> None:
    """Two replicas give the gradient of one, and its weights after 20 AdamW steps."""
    objective, model = case.make_objective(), case.make_model()
    evaluate_terms(objective, model, case.batch)
    weights = _weights(objective, model)
    whole = train(objective, model, case.batch, NUM_ROWS)
    if len(logical_processors()) > 1:
        two = train(case.make_objective(), case.make_model(), case.batch, NUM_ROWS // 2, num_replicas=2)
    else:
        arrays = in_other_process(
            "train", case.make_objective, case.make_model, case.batch, "tensorflow", weights
        )
        two = arrays["gradient"], arrays["weights"]
    _assert_same_training(two, whole, "2 replicas")


def check_jax(case: ObjectiveCase) -> None:
    """Terms and gradients under JAX, compiled, equal those under TensorFlow."""
    objective, model = case.make_objective(), case.make_model()
    ours = evaluate_terms(objective, model, case.batch)
    weights = _weights(objective, model)
    _, gradients = gradient_function(objective, model)(_values(model), dict(case.batch))
    theirs = in_other_process(
        "terms", case.make_objective, case.make_model, case.batch, "jax", weights=weights
    )
    for name, value in ours.named().items():
        assert name in theirs, f"under JAX there is no {name}"
        error = float(np.abs(theirs[name] - value).max(initial=0.0))
        limit = 1e-4 * max(1.0, float(np.abs(value).max(initial=0.0)))
        assert error <= limit, f"{name} is off by {error:.1e} under JAX"
    flat = np.concatenate([np.reshape(gradient, -1) for gradient in gradients])
    error = _difference([theirs["gradient"]], [flat])
    assert error <= 1e-4, f"the gradient under JAX differs by {error:.1e} of its norm"


def _weights(objective: Objective, model: keras.Model) -> list[np.ndarray]:
    """The weights of the model and then of the frozen models, copied."""
    owners = [model, *objective.frozen_models().values()]
    return [np.array(keras.ops.convert_to_numpy(w)) for owner in owners for w in owner.weights]


def _values(model: keras.Model) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(weight.value) for weight in model.trainable_variables]


def _row(batch: Batch, row: int) -> dict[str, np.ndarray]:
    return {name: array[row : row + 1] for name, array in batch.items()}


def _sum(parts: list[TermValues], *, has_row_metrics: bool) -> TermValues:
    def total(name: str) -> float:
        return sum(getattr(part, name) for part in parts)

    metrics: dict[str, Any] = {
        name: [sum(part.metrics[name][index] for part in parts) for index in (0, 1)]
        for name in (parts[0].metrics if has_row_metrics else ())
    }
    return TermValues(total("loss_sum"), total("weight"), total("aux_weight"), None, metrics)


def _assert_equal(actual: TermValues, expected: TermValues, tolerance: float, what: str) -> None:
    ours = actual.named()
    for name, value in expected.named().items():
        assert name in ours, f"{what} gives no {name}"
        error = float(np.abs(ours[name] - value).max(initial=0.0))
        limit = tolerance * max(1.0, float(np.abs(value).max(initial=0.0)))
        assert error <= limit, f"{what} changes the {name} from {value} to {ours[name]}"


def _assert_same_training(
    actual: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray], what: str
) -> None:
    error = _difference([actual[0]], [expected[0]])
    assert error <= 1e-6, f"{what}: the gradient differs from that of 1 x 8 by {error:.1e} of its norm"
    error = float(np.abs(actual[1] - expected[1]).max())
    assert error <= 1e-5, f"{what}: after 20 steps a weight differs from that of 1 x 8 by {error:.1e}"


def _norm(arrays: Any) -> float:
    return float(np.sqrt(sum(float(np.sum(np.square(np.asarray(array, np.float64)))) for array in arrays)))


def _difference(actual: Any, expected: Any) -> float:
    """The norm of a difference over the norm of what is expected."""
    pairs = zip(actual, expected, strict=True)
    differences = [np.asarray(a, np.float64) - np.asarray(b, np.float64) for a, b in pairs]
    return _norm(differences) / max(_norm(expected), 1e-12)
