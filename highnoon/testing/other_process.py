"""Running a part of a check in another process: with another backend, or with more processors."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_JOB, _BATCH, _WEIGHTS, _RESULT = "job.json", "batch.npz", "weights.npz", "result.npz"
_START = "import sys; sys.path[:] = {!r}; from highnoon.testing.other_process import main; main({!r})"


def in_other_process(
    task: str,
    make_objective: Callable[[], Any],
    make_model: Callable[[], Any],
    batch: Mapping[str, np.ndarray],
    backend: str,
    weights: Sequence[np.ndarray] = (),
) -> dict[str, np.ndarray]:
    """Returns the arrays that a task gives in a process of its own.

    Args:
        task: `"train"`, on two replicas, or `"terms"`, under JAX.
        make_objective: A function at the top of a module.
        make_model: Another.
        batch: The rows.
        backend: Of Keras.
        weights: Of the model and then of the frozen models, which the other process uses in place of its own.

    Raises:
        AssertionError: the process failed, with the last line that it printed.
    """
    job = {"task": task, "objective": _reference(make_objective), "model": _reference(make_model)}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / _JOB).write_text(json.dumps(job), encoding="utf-8")
        arrays: Any = dict(batch)
        np.savez(path / _BATCH, **arrays)
        np.savez(path / _WEIGHTS, *weights)
        done = subprocess.run(
            [sys.executable, "-c", _START.format(sys.path, folder)],
            env=os.environ | {"KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
            raise AssertionError(f"{task} under {backend} failed: {last[0]}")
        with np.load(path / _RESULT) as results:
            return dict(results)


def main(folder: str) -> None:
    """Does the task that `in_other_process` wrote into a folder."""
    path = pathlib.Path(folder)
    job = json.loads((path / _JOB).read_text(encoding="utf-8"))
    with np.load(path / _BATCH) as columns:
        batch = dict(columns)
    with np.load(path / _WEIGHTS) as saved:
        weights = [saved[name] for name in saved.files]
    if job["task"] == "train":
        import tensorflow as tf

        processor = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    objective, model = _found(job["objective"])(), _found(job["model"])()
    results: Any = (
        _train(objective, model, batch, weights)
        if job["task"] == "train"
        else _terms(objective, model, batch, weights)
    )
    np.savez(path / _RESULT, **results)


def _train(
    objective: Any, model: Any, batch: Mapping[str, np.ndarray], weights: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    from highnoon.testing.objective_runs import train

    _take_over(objective, model, batch, weights)
    gradient, ends = train(objective, model, batch, 4, num_replicas=2)
    return {"gradient": gradient, "weights": ends}


def _terms(
    objective: Any, model: Any, batch: Mapping[str, np.ndarray], weights: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Terms and gradient in one compiled function, so that an operation of another backend is an error."""
    import jax
    import keras

    from highnoon.testing.objective_runs import TermValues

    _take_over(objective, model, batch, weights)

    def loss_and_terms(values: Any, batch: Mapping[str, Any]) -> Any:
        pairs = list(zip(model.trainable_variables, values, strict=True))
        with keras.StatelessScope(collect_losses=True, state_mapping=pairs):
            terms = objective.terms(model, batch, training=True)
            sums = terms.aux_loss, objective.weight(batch), objective.aux_weight(batch), dict(terms.metrics)
        return terms.loss_sum, sums

    values = [variable.value for variable in model.trainable_variables]
    tensors = {name: jax.numpy.asarray(batch[name]) for name in objective.columns}
    (loss, sums), gradients = jax.jit(jax.value_and_grad(loss_and_terms, has_aux=True))(values, tensors)
    aux_loss, weight, aux_weight, metrics = sums
    arrays = {name: (np.asarray(metric.total), float(metric.weight)) for name, metric in metrics.items()}
    named = TermValues(float(loss), float(weight), float(aux_weight), float(aux_loss), arrays).named()
    return {**named, "gradient": np.concatenate([np.asarray(gradient).reshape(-1) for gradient in gradients])}


def _take_over(
    objective: Any, model: Any, batch: Mapping[str, np.ndarray], weights: Sequence[np.ndarray]
) -> None:
    """Gives the models the weights that they have in the other process."""
    from highnoon.testing.objective_runs import evaluate_terms

    evaluate_terms(objective, model, batch)
    owners = [model, *objective.frozen_models().values()]
    for variable, value in zip((w for owner in owners for w in owner.weights), weights, strict=True):
        variable.assign(value)


def _reference(function: Callable[[], Any]) -> list[str]:
    file = inspect.getsourcefile(function)
    name = function.__qualname__
    if file is None or "." in name:
        raise AssertionError(
            f"{name} must be a function at the top of a module, so that another process finds it"
        )
    return [function.__module__, os.path.abspath(file), name]


def _found(reference: Sequence[str]) -> Callable[[], Any]:
    module_name, file, name = reference
    own_name = f"checked.{module_name}"
    if own_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(own_name, file)
        assert spec is not None and spec.loader is not None
        sys.modules[own_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[own_name])
    found: Callable[[], Any] = getattr(sys.modules[own_name], name)
    return found
