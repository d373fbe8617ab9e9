"""Task mixes, balanced shares, optional data and rows of rising length."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError, TrainingConfig
from highnoon.data import DataError
from highnoon.data.sequences.mixture import balanced_shares
from highnoon.training.curricula.task_mix import sequence_length_stages, task_mix_stages
from highnoon.training.distributed.cluster_config import ClusterConfig
from highnoon.training.plans.stages import CurriculumStage

TASKS = {"text_completion": "text.jsonl", "function_call": "calls.jsonl", "bash_command": "bash.jsonl"}


def write(path: str, word: str, documents: int) -> None:
    pathlib.Path(path).write_text(
        "".join(json.dumps({"text": f"{word} {number} " * 8}) + "\n" for number in range(documents))
    )


@pytest.fixture
def tasks() -> dict[str, str]:
    for (task, path), documents in zip(TASKS.items(), (60, 30, 20), strict=True):
        write(path, task, documents)
    return dict(TASKS)


def plan_of(make_model: Callable[..., keras.Model], add: Callable[[hn.Trainer], Any]) -> Any:
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32)
    add(trainer)
    return trainer.plan()


def test_a_task_mix_becomes_stages_of_weights(make_model: Callable[..., keras.Model], tasks: dict) -> None:
    mixes = [
        {"iters": 2000, "weights": {"text_completion": 0.7, "bash_command": 0.3}},
        {
            "iters": [2000, 5000],
            "weights": {"text_completion": 0.3, "function_call": 0.4, "bash_command": 0.3},
        },
    ]
    plan = plan_of(make_model, lambda trainer: trainer.add_task_mix(tasks, mixes, max_iters=5000))
    assert [stage.steps for stage in plan.stages] == [2000, 3000]
    assert [part["share"] for part in plan.stages[1].mix] == [0.3, 0.4, 0.3]
    assert "calls.jsonl 40.0%" in str(plan)


@pytest.mark.parametrize(
    "stages, message",
    [
        ([{"iters": 5, "weights": {"text_completion": 0.5}}], "must sum to 1"),
        ([{"iters": 5, "weights": {"poetry": 1.0}}], "'poetry', which has no data"),
        ([{"iters": [3, 5], "weights": {"text_completion": 1.0}}], "must begin at step 0"),
        ([{"weights": {"text_completion": 1.0}}], "needs one of `iters`"),
        ([{"iters": 5, "max_steps": 5, "weights": {"text_completion": 1.0}}], "needs one of `iters`"),
        ([{"iters": 5, "wieghts": {}}], "weights"),
        ([{"iters": 0, "weights": {"text_completion": 1.0}}], "`iters` of stage `mix 1` must be at least 1"),
        ([{"iters": "five", "weights": {"text_completion": 1.0}}], "must be a whole number; received 'five'"),
        (
            [{"iters": 2**63, "weights": {"text_completion": 1.0}}],
            "must be at most 9,223,372,036,854,775,807",
        ),
        ([], "the task mix has no stages"),
        ([{"iters": 5, "weights": {"text_completion": "half"}}], "must be numbers, none below 0"),
        ([{"iters": 5, "weights": {"text_completion": 1.5, "bash_command": -0.5}}], "none below 0"),
    ],
)
def test_a_mix_that_does_not_fit_is_refused(stages: list, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task_mix_stages(TASKS, stages)


def test_lengths_must_add_up_to_the_run() -> None:
    with pytest.raises(ConfigError, match="last 5 steps in all, and `max_iters` is 9"):
        task_mix_stages(TASKS, [{"iters": 5, "weights": {"text_completion": 1.0}}], max_iters=9)


def test_optional_data_that_is_missing_gives_its_weight_to_the_others(
    make_model: Callable[..., keras.Model], tasks: dict
) -> None:
    tasks["tool_use"] = "toolbench-that-is-not-here"
    weights = {"text_completion": 0.15, "function_call": 0.20, "bash_command": 0.40, "tool_use": 0.25}
    with pytest.warns(UserWarning, match="goes without `toolbench-that-is-not-here`"):
        plan = plan_of(
            make_model,
            lambda trainer: trainer.add_task_mix(
                tasks, [{"iters": 10, "weights": weights}], optional=["tool_use"]
            ),
        )
    assert [part["share"] for part in plan.stages[0].mix] == pytest.approx([0.2, 0.2 / 0.75, 0.4 / 0.75])
    with pytest.raises(DataError, match="toolbench-that-is-not-here"):
        plan_of(make_model, lambda trainer: trainer.add_task_mix(tasks, [{"iters": 9, "weights": weights}]))


def test_a_glob_may_be_optional_too(make_model: Callable[..., keras.Model], tasks: dict) -> None:
    tasks["tool_use"] = "none/*.jsonl"
    weights = {"text_completion": 0.5, "tool_use": 0.5}
    with pytest.warns(UserWarning, match="goes without `none/"):
        plan = plan_of(
            make_model,
            lambda trainer: trainer.add_task_mix(
                tasks, [{"iters": 10, "weights": weights}], optional=["tool_use"]
            ),
        )
    assert [part["name"] for part in plan.stages[0].mix] == ["text.jsonl"]


@pytest.fixture
def domains() -> str:
    for name, documents in (("big", 400), ("middle", 60), ("small", 8)):
        pathlib.Path("own_domains", name).mkdir(parents=True)
        write(f"own_domains/{name}/a.jsonl", name, documents)
    return "own_domains"


def test_equal_weights_stop_where_a_domain_would_be_seen_too_often(
    make_model: Callable[..., keras.Model], domains: str
) -> None:
    plan = plan_of(
        make_model,
        lambda trainer: trainer.add_curriculum_stage(
            "all", domains, epochs=1, balance="equal", max_repeats=3.0
        ),
    )
    mix = {part["name"]: part for part in plan.stages[0].mix}
    assert mix["small"]["repeats"] == pytest.approx(3.0) and mix["small"]["share"] < 1 / 3
    assert mix["middle"]["share"] == mix["big"]["share"] == pytest.approx((1 - mix["small"]["share"]) / 2)


def test_a_temperature_is_between_sizes_and_equal_weights(
    make_model: Callable[..., keras.Model], domains: str
) -> None:
    weights = {}
    for balance in (1.0, 2.0, "equal"):
        plan = plan_of(
            make_model,
            lambda trainer, balance=balance: trainer.add_curriculum_stage(
                "all", domains, epochs=1, balance=balance, max_repeats=1e9
            ),
        )
        weights[balance] = {part["name"]: part["share"] for part in plan.stages[0].mix}
    assert weights[1.0]["small"] < weights[2.0]["small"] < weights["equal"]["small"] == pytest.approx(1 / 3)


def test_two_datasets_of_equal_text_keep_their_names(make_model: Callable[..., keras.Model]) -> None:
    write("one.jsonl", "same", 30)
    write("two.jsonl", "same", 30)
    datasets = [("one.jsonl", 0.3), ("two.jsonl", 0.7)]
    plan = plan_of(make_model, lambda trainer: trainer.add_curriculum_stage("all", datasets, steps=4))
    assert [part["name"] for part in plan.stages[0].mix] == ["one.jsonl", "two.jsonl"]


def test_a_weight_that_would_never_be_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="weights must be at least 0.0001"):
        hn.training.CurriculumStage("all", [("a", 1 - 4e-5), ("b", 4e-5)])
    assert min(balanced_shares([10**9, 10], temperature=1.0, max_repeats=4.0)) >= 1e-4


@pytest.mark.slow
def test_actual_fractions_are_logged_next_to_the_weights(
    make_model: Callable[..., keras.Model], tasks: dict
) -> None:
    trainer = hn.Trainer(make_model(), batch_size=4, max_seq_length=32)
    trainer.add_curriculum_stage("mix", [("text.jsonl", 0.25), ("bash.jsonl", 0.75)], steps=4)
    events: list[dict] = []
    trainer.train(
        callbacks=[events.append], log_dir=None, save_checkpoints=False, verbose=False, log_interval=4
    )
    logged = [event["metrics"] for event in events if event["event"] == "log"][-1]
    assert logged["mix/text.jsonl"] == pytest.approx(0.25, abs=0.1)
    assert logged["mix/text.jsonl"] + logged["mix/bash.jsonl"] == pytest.approx(1.0)
    held_out = next(event["metrics"] for event in events if event["event"] == "evaluation")
    assert held_out["val/loss/text.jsonl"] != held_out["val/loss/bash.jsonl"]
    low, high = sorted([held_out["val/loss/text.jsonl"], held_out["val/loss/bash.jsonl"]])
    assert low <= held_out["val/loss"] <= high


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"balance": 0.5}, "temperature of at least 1"),
        ({"balance": "fair"}, "'equal' or a temperature"),
        ({"balance": "equal", "max_repeats": 0.5}, "`max_repeats`"),
        ({"optional": ["other"]}, "none of its datasets"),
        ({"steps": 5, "tokens": 5}, "`steps` and `tokens`"),
        ({"datasets": [("a", 0.5), ("b", 0.6)]}, "stage `all`: the weights must sum to 1"),
        ({"datasets": [("a", "much"), ("b", 0.6)]}, "stage `all`: weights must be numbers"),
    ],
)
def test_stage_arguments_that_do_not_fit_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hn.training.CurriculumStage("all", **{"datasets": ["a"], **arguments})


def test_a_length_in_tokens_is_rounded_up_to_steps(
    make_model: Callable[..., keras.Model], tasks: dict
) -> None:
    plan = plan_of(make_model, lambda t: t.add_curriculum_stage("all", "text.jsonl", tokens=4 * 32 * 7 + 1))
    assert plan.stages[0].steps == 8 and plan.stages[0].epochs is None


def test_rows_grow_and_the_tokens_of_a_step_stay() -> None:
    config = TrainingConfig(batch_size=8, max_seq_length=256)
    stages = sequence_length_stages("grow", ["a"], [64, 128, 256], config, steps=100)
    assert [stage.name for stage in stages] == ["grow-64", "grow-128", "grow-256"]
    assert [stage.steps for stage in stages] == [33, 33, 34]
    sizes = [(s.config_overrides["batch_size"], s.config_overrides["max_seq_length"]) for s in stages]
    assert np.prod(sizes, axis=1).tolist() == [2048] * 3
    for lengths in ([128, 64], [], [100, 256]):
        with pytest.raises(ConfigError, match="`lengths` must increase"):
            sequence_length_stages("grow", ["a"], lengths, config, steps=9)


def test_one_name_instead_of_a_list_is_not_cut_into_letters(tasks: dict) -> None:
    stages = [{"iters": 4, "weights": dict.fromkeys(tasks, 1 / len(tasks))}]
    with pytest.raises(ConfigError, match="`optional` must be a list"):
        task_mix_stages(tasks, stages, optional=next(iter(tasks)))
    with pytest.raises(ConfigError, match="`optional` must be a list"):
        CurriculumStage("s", ["data"], optional="data")
    assert ClusterConfig(workers="localhost:4000").workers == ("localhost:4000",)


@pytest.mark.parametrize("lengths", [{"epochs": 2**62}, {"steps": 2**62}])
def test_stages_that_last_more_steps_than_64_bits_hold_are_refused(
    make_model: Callable[..., keras.Model], tasks: dict, lengths: dict
) -> None:
    def add(trainer: hn.Trainer) -> None:
        for name in ("a", "b"):
            trainer.add_curriculum_stage(name, [tasks["text_completion"]], **lengths)

    with pytest.raises(ConfigError, match="at most 9,223,372,036,854,775,807 optimizer steps in all"):
        plan_of(make_model, add)
