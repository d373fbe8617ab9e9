"""What a run is made of, for the HParams tab of TensorBoard and for a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from highnoon.config import TrainingConfig
from highnoon.files.html_table import html_lines, html_table
from highnoon.training.plans.plan import TrainingPlan
from highnoon.training.plans.stages import LENGTHS, CurriculumStage
from highnoon.training.preflight.preflight import num_parameters

_OF_STAGES = ("learning_rate", "max_seq_length")


def run_hparams(model: keras.Model, config: TrainingConfig, plan: TrainingPlan) -> dict[str, Any]:
    """Returns the hyperparameters of a run by name: those of training, of the model, and of its stages."""
    training = config.to_dict()
    shape = model_fields(model)
    stages = plan.stages
    return {
        **{name: value for name, value in training.items() if name not in _OF_STAGES},
        "learning_rate": _one_or_all([stage.learning_rate for stage in stages]),
        "max_seq_length": _one_or_all([stage.row_length for stage in stages]),
        **{f"model/{name}": value for name, value in shape.items()},
        "model/parameters": num_parameters(model),
        "data": ", ".join(dict.fromkeys(name for stage in stages for name in stage.datasets)),
        "stages": ", ".join(stage.name for stage in stages),
        "steps": plan.total_steps,
        "rows_per_step": _one_or_all([stage.rows_per_step for stage in stages]),
    }


def model_fields(model: keras.Model) -> dict[str, Any]:
    """Returns the fields of a model's configuration; nothing for a model of another package."""
    config = getattr(model, "config", None)
    to_dict = getattr(config, "to_dict", None)
    return {} if to_dict is None else dict(to_dict())


def trainer_as_html(
    model: keras.Model,
    config: TrainingConfig,
    stages: Sequence[CurriculumStage],
    plan: TrainingPlan | None,
) -> str:
    """Returns a trainer as tables: its stages with their data, its model, and its configuration.

    Args:
        model: What it trains.
        config: Of its runs.
        stages: As the user gave them.
        plan: Made from them; None where it is not made yet, which would read the data.
    """
    head = f"Trainer of `{model.name}`, {num_parameters(model):,} parameters"
    if plan is not None:
        table = html_lines([head]) + plan._repr_html_()
    else:
        rows = [(stage.name, _datasets(stage), _length(stage)) for stage in stages]
        table = html_table(("stage", "data", "length"), rows, head)
    fields = {"model": model_fields(model), "training configuration": config.to_dict()}
    return table + "".join(_folded(title, values) for title, values in fields.items() if values)


def _folded(title: str, values: dict[str, Any]) -> str:
    rows = [(name, str(value)) for name, value in values.items() if value is not None]
    return f"<details><summary>{title}</summary>{html_table((), rows)}</details>"


def _datasets(stage: CurriculumStage) -> str:
    entries, weights = stage.dataset_names_and_weights()
    names = [_dataset_name(entry) for entry in entries]
    fractions: Sequence[float | None] = weights or [None] * len(names)
    return ", ".join(
        name if fraction is None else f"{name} ({fraction:.1%})"
        for name, fraction in zip(names, fractions, strict=True)
    )


def _dataset_name(entry: Any) -> str:
    """Returns the name of a dataset: a name, a path, a mapping that says how to read one, or an object."""
    if isinstance(entry, Mapping):
        entry = entry.get("name", "data in memory")
    return str(getattr(getattr(entry, "source", entry), "name", None) or entry)


def _length(stage: CurriculumStage) -> str:
    given = {name: getattr(stage, name) for name in LENGTHS if getattr(stage, name) is not None}
    return next((f"{value:,} {name}" for name, value in given.items()), "epochs of train()")


def _one_or_all(values: list[Any]) -> Any:
    """Returns the value that all stages have, or the values of all as text."""
    return values[0] if len(set(values)) == 1 else ", ".join(f"{value:g}" for value in values)
