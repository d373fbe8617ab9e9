"""Every option of `Trainer`, `train` and a stage can be said in a recipe, and reaches them."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
from typing import Any

import pytest

from highnoon.config import ConfigError, TrainingConfig
from highnoon.training.evaluators import Evaluator, register_evaluator
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.recipes import Recipe, make_trainer, run_recipe
from highnoon.training.recipes.recipe_stages import STAGE_KEYS
from highnoon.training.trainer import Trainer

# Arguments that a recipe says in another way, and how.
SAID_OTHERWISE = {
    "self": "",
    "model": "preset, model",
    "config": "training",
    "options": "training",
    "optimizer": "training.optimizer",
    "learning_rate": "training.learning_rate",
    "batch_size": "training.batch_size",
    "max_seq_length": "training.max_seq_length",
    "gradient_accumulation_steps": "training.gradient_accumulation_steps",
    "epochs": "epochs_per_stage",
    "callbacks": "alerts, wandb, sample_prompts",
    "config_overrides": "overrides of the stage",
}
VALUES: dict[str, Any] = {
    "tokenizer": "tok",
    "data_dir": ".",
    "cache_dir": "cache",
    "weight_mode": "learning_rate",
    "strategy": "one_device",
    "on_callback_error": "warn",
    "jit_compile": False,
    "objective": "next_token",
    "checkpoint_dir": "elsewhere",
    "log_dir": "my-logs",
    "resume_from": True,
    "evaluators": ["words"],
    "restore_best": True,
    "run_name": "baseline",
}


def options_of(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in SAID_OTHERWISE]


def other_than_default(name: str) -> Any:
    if name in VALUES:
        return VALUES[name]
    default = Recipe.__dataclass_fields__[name].default
    return not default if isinstance(default, bool) else 7


class Recorder:
    """Stands in for the trainer and keeps what it is given."""

    given: dict[str, Any] = {}

    def __init__(self, **arguments: Any) -> None:
        Recorder.given = arguments
        self.replicas = type("Replicas", (), {"is_chief": True})

    def train(self, **arguments: Any) -> dict[str, Any]:
        Recorder.given = arguments
        return {}

    def add_curriculum_stage(self, **stage: Any) -> None:
        pass

    def save(self, path: Any) -> None:
        pass


# The signatures that `given_arguments` reads are the real ones.
Recorder.__init__.__signature__ = inspect.signature(Trainer.__init__)  # type: ignore[attr-defined]
Recorder.train.__signature__ = inspect.signature(Trainer.train)  # type: ignore[attr-defined]


@pytest.fixture
def recorder(monkeypatch, tmp_path) -> type[Recorder]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(make_trainer, "Trainer", Recorder)
    monkeypatch.setattr(run_recipe, "Trainer", Recorder)
    monkeypatch.setattr(make_trainer, "make_model", lambda recipe: "model")
    monkeypatch.setattr(make_trainer, "load_tokenizer", lambda path: path)
    return Recorder


@register_evaluator("words")
class Words(Evaluator):
    """An evaluator that a recipe names."""


@pytest.mark.parametrize("name", options_of(Trainer.__init__))
def test_an_option_of_the_trainer_reaches_it(recorder, name):
    value = other_than_default(name)
    make_trainer.make_trainer(Recipe.from_dict({name: value}))
    received = recorder.given[name]
    if name == "strategy":
        assert received.num_replicas_in_sync == 1
    elif name == "objective":
        assert type(received).__name__ == "NextToken"
    else:
        assert received == value


@pytest.mark.parametrize("name", sorted({*options_of(Trainer.train)} - {*options_of(Trainer.__init__)}))
def test_an_option_of_a_run_reaches_it(recorder, name):
    value = other_than_default(name)
    run_recipe.run_recipe(Recipe.from_dict({name: value}), recorder())
    assert not set(recorder.given) & {*options_of(Trainer.__init__)}
    assert str(recorder.given[name]) == str(value)


def test_the_folders_of_a_run_follow_its_output(recorder):
    run_recipe.run_recipe(Recipe(output="my-run"), recorder())
    assert not pathlib.Path("my-run/recipe.yaml").exists()
    recorder.given["callbacks"][-1]({"event": "train_begin"})
    assert Recipe.load("my-run").output == "my-run"
    assert {str(recorder.given[name]) for name in ("checkpoint_dir", "log_dir")} == {
        "my-run/checkpoints",
        "my-run/logs",
    }


def test_every_argument_of_a_stage_is_a_key_of_one():
    fields = {field.name for field in dataclasses.fields(CurriculumStage)} - {"config_overrides"}
    assert {*options_of(Trainer.add_curriculum_stage), *fields} | {"overrides"} == set(STAGE_KEYS)


def test_every_field_of_the_training_configuration_is_a_key():
    assert Recipe(training=TrainingConfig().to_dict()).config().training == TrainingConfig()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weight_mode": "los"}, "`weight_mode` must be one of loss, learning_rate; received 'los'"),
        ({"jit_compile": 1}, "`jit_compile` must be true or false; received 1"),
        ({"steps_per_execution": 0}, "`steps_per_execution` must be at least 1"),
        ({"strategy": "auto "}, "`strategy` must be one of auto, one_device, mirrored"),
        (
            {"model": {"path": "a", "embedding_dim": 3}},
            "a saved model.*leave `model.embedding_dim` out",
        ),
        ({"model": {"path": "a", "hf": "b"}}, "leave `model.hf` out"),
        ({"evaluators": "words"}, "`evaluators` must be a list; received 'words'"),
        ({"model": {"family": "f"}, "preset": "highnoon-nano"}, "leave `preset` out"),
        ({"model": {"family": "f", "path": "a"}}, "leave `model.path` out"),
        ({"model": {"hf": "a"}, "preset": "highnoon-nano"}, "leave `preset` out"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(values, words):
    with pytest.raises(ConfigError, match=words):
        Recipe.from_dict(values)
