"""A recipe of experts, repeated: what is done is skipped, what was cut resumes, what changed runs again."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from highnoon.compat import expert_steps, expert_training
from highnoon.compat.expert_recipe import NEEDED_BY, ExpertRecipe
from highnoon.compat.expert_steps import described, run_expert_recipe
from highnoon.config import ConfigError
from highnoon.experts.runs.expert_forms import FORMS
from highnoon.experts.runs.recorded_step import Beginning

STEPS = ("transformer", "state_space", "router", "assemble", "evaluate")
TRAINING = {"max_epochs": 1, "batch_size": 8, "warmup_steps": 1, "use_amp": False}


class Killed(BaseException):
    """Ends a run as SIGKILL does."""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> ExpertRecipe:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data/days").mkdir(parents=True)
    lines = [json.dumps({"text": f"day {number}: the sun at noon"}) for number in range(24)]
    (tmp_path / "data/days/a.jsonl").write_text("\n".join(lines))
    return ExpertRecipe.from_dict(
        {
            "data": {"data_dir": "data", "tokenizer": "byte", "val_split": 0.3},
            "model": {"d_model": 8, "max_seq_len": 16, "n_heads": 1},
            "transformer": {"n_layers": 1},
            "state_space": {"n_layers": 1, "d_state": 4},
            "mla": {"n_heads": 1},
            "train_expert": TRAINING,
            "train_mla": {**TRAINING, "grad_accum_steps": 1},
            "experts": {"transformer": {}, "state_space": {}},
        }
    )


def skipped(capsys) -> list[str]:
    printed = capsys.readouterr().out
    return [step for step in STEPS if f"{step}: done before, skipped" in printed]


def kill(monkeypatch, step: str, *, is_begun: bool) -> None:
    """Kills the run of a step at its beginning: before or after it is recorded."""

    def hear(beginning, event):
        is_this = event["event"] == "train_begin" and event["run_name"].startswith(step)
        if is_begun or not is_this:
            record(beginning, event)
        if is_this:
            raise Killed

    record = Beginning.__call__
    monkeypatch.setattr(Beginning, "__call__", hear)


def without_compilation(patch) -> None:
    """XLA takes longer to compile such small models than they take to train."""
    given = expert_training._run_arguments
    patch.setattr(expert_training, "_run_arguments", lambda *a, **k: {**given(*a, **k), "jit_compile": False})


def id_of(step: str) -> str:
    return json.loads(pathlib.Path(f"checkpoints/steps/{step}.json").read_text())["run_id"]


@pytest.mark.slow
def test_a_recipe_is_killed_repeated_done_and_changed(recipe, capsys, monkeypatch):
    without_compilation(monkeypatch)
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, "state_space", is_begun=True)
        with pytest.raises(Killed):
            run_expert_recipe(recipe)
    begun, _ = id_of("state_space"), capsys.readouterr()
    figures = run_expert_recipe(recipe)
    assert skipped(capsys) == ["transformer"] and id_of("state_space") != begun
    assert figures["mixture"]["loss"] > 0 and len(figures["experts"]) == 2

    assert run_expert_recipe(recipe) == figures
    assert skipped(capsys) == list(STEPS)

    changed = dataclasses.replace(recipe, router={"lr": 1e-2, "log_interval": 7})
    with pytest.MonkeyPatch.context() as patch:
        kill(patch, "nanothink_mla", is_begun=False)
        with pytest.raises(Killed):
            run_expert_recipe(changed)
    before = id_of("router")
    # Killed before its run began, the changed router does not resume the run of before.
    assert skipped(capsys) == ["transformer", "state_space"]
    assert run_expert_recipe(changed) != figures
    assert skipped(capsys) == ["transformer", "state_space"] and id_of("router") != before


def test_a_field_without_effect_on_a_step_changes_nothing_of_what_it_depends_on(recipe):
    configs = recipe.configs
    diffuser = dataclasses.replace(configs.diffuser, training_steps=50)
    mla = dataclasses.replace(configs.mla, inference_steps=5)
    train = dataclasses.replace(configs.train_expert, snapshot_epochs=2, log_interval=3)
    other = dataclasses.replace(configs, diffuser=diffuser, mla=mla, train_expert=train)
    for step in ("transformer", "diffusion", "router"):
        assert described(step, other) == described(step, configs)
    assert described("diffuser", other) != described("diffuser", configs)


def test_what_a_recipe_takes_for_needed_is_what_the_training_needs():
    assert NEEDED_BY == {name: form.needs for name, form in FORMS.items() if form.needs is not None}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"experts": {"state_space": {}, "diffusion": {}, "diffuser": {}}}, "must name transformer too"),
        ({"experts": {"transformer": 5, "state_space": {}}}, "`transformer` must be a mapping"),
        ({"experts": {"transformer": {}, 7: {}}}, "there is no expert `7`"),
        ({"router": [1]}, "`router` must be a mapping of fields"),
        ({"data": {"val_split": 0}}, "`val_split` of the router must be above 0"),
        ({"train_mla": {"checkpoint_dir": "x"}}, "`train_mla` must not have `checkpoint_dir`"),
        ({"router": {"checkpoint_dir": "x"}}, "`router` must not have `checkpoint_dir`"),
        (
            {"experts": {"state_space": {}, "diffusion": {}}, "use_vector_store": True},
            "`use_vector_store` needs the transformer",
        ),
    ],
)
def test_what_no_step_could_use_is_refused_before_the_first(changes, message):
    with pytest.raises(ConfigError, match=message):
        ExpertRecipe.from_dict(changes)
    assert ExpertRecipe.from_dict({"router": None}).configs_of("router").mla.n_experts == 3


def test_the_needed_expert_is_trained_before_the_one_that_needs_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("data").mkdir()
    pathlib.Path("data/a.txt").write_text("noon")
    recipe = ExpertRecipe.from_dict(
        {"data": {"tokenizer": "byte"}, "experts": {"diffuser": {}, "transformer": {}, "state_space": {}}}
    )
    order: list[tuple[str, str | None]] = []

    class Steps:
        def run(self, name, inputs, results, step):
            order.append((name, inputs["needs"]))

    monkeypatch.setattr("highnoon.experts.runs.recorded_step.weights_file_hash", lambda folder: str(folder))
    expert_steps._train_experts(recipe, Steps(), pathlib.Path("checkpoints"))
    assert [name for name, _ in order] == ["transformer", "state_space", "diffuser"]
    assert order[-1][1] == "checkpoints/transformer_expert/model" and recipe.mixed == STEPS[:2]
