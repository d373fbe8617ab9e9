from __future__ import annotations

import argparse

import pytest

from highnoon.cli.__main__ import parse
from highnoon.cli.run_checks import check_run
from highnoon.cli.run_file import RunFile, dotted_fields
from highnoon.cli.train import read_run, run_callbacks
from highnoon.config import ConfigError, get_preset_config

RUN = """
preset: highnoon-nano
model: {d_model: 64}
training:
  lr: 1e-3
  batch_size: 4
stages:
  - {name: easy, datasets: [a.txt], steps: 5, overrides: {learning_rate: 5e-5}}
  - {name: hard, datasets: [[a.txt, 0.5], [b.txt, 0.5]], epochs: 2, weight: 2.0}
output: my-run
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> str:
        (tmp_path / "run.yaml").write_text(text)
        return str(tmp_path / "run.yaml")

    return write


def test_a_file_says_model_training_and_stages_over_a_preset(write):
    run = RunFile.load(write(RUN))
    config = run.config()
    assert config.model.embedding_dim == 64
    assert (config.training.learning_rate, config.training.batch_size) == (1e-3, 4)
    assert config.model.num_moe_experts == get_preset_config("highnoon-nano").model.num_moe_experts
    assert [stage["name"] for stage in run.stages] == ["easy", "hard"]
    assert run.output == "my-run"


def test_dotted_options_win_over_the_file_even_under_another_name(write):
    words = "--model.embedding_dim 32 --training.learning_rate=3e-4 --training.warmup_steps null"
    fields = dotted_fields(words.split())
    config = RunFile.load(write(RUN)).with_fields(fields).config()
    assert (config.model.embedding_dim, config.training.learning_rate) == (32, 3e-4)
    assert config.training.warmup_steps is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stges: []", "no key `stges`; did you mean `stages`"),
        ("model: {embeding_dim: 4}", "no key `embeding_dim`; did you mean `embedding_dim`"),
        ("training: {learning_rat: 4}", "no key `learning_rat`; did you mean `learning_rate`"),
        ("stages: [{name: a, dataset: x}]", "stage 1 has no key `dataset`; did you mean `datasets`"),
        ("stages: [{datasets: x}]", "stage 1 has no `name`"),
        ("stages: {name: a}", "`stages` must be a list"),
        ("stages: [a]", "stage 1 must be a mapping"),
        ("model: 3", "`model` must be a mapping"),
        ("model: {lr: 1, learning_rate: 1}", "`model` has no key `lr`"),
        ("training: {lr: 1, learning_rate: 1}", "name the same field"),
        ("preset: highnoon-nan", "did you mean `highnoon-nano`"),
        ("output: a\noutput: b", "line 2: `output` is given twice"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_nearest_right_word(write, text, message):
    with pytest.raises(ConfigError, match=message):
        RunFile.load(write(text)).config()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.embeding_dim", "4"], "did you mean `embedding_dim`"),
        (["--modl.embedding_dim", "4"], "--modl.embedding_dim` is no option"),
        (["--model.d_model", "4", "--model.d_model=5"], "given twice"),
        (["--model.d_model", "4", "--model.embedding_dim=5"], "`d_model` and `embedding_dim`, which name"),
    ],
)
def test_a_misspelt_dotted_option_is_an_error(words, message):
    with pytest.raises(ConfigError, match=message):
        RunFile().with_fields(dotted_fields(words)).config()


@pytest.mark.parametrize("words", [["--model.embedding_dim"], ["--model.embedding_dim", "4", "5"]])
def test_a_dotted_option_takes_one_value(words):
    with pytest.raises(argparse.ArgumentError):
        dotted_fields(words)


def test_alerts_and_wandb_of_a_run_file_become_callbacks(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "stages: [{name: all, datasets: stdlib, steps: 5}]\n"
        "alerts: {rules: ['train/grad_norm > 50 for 3 -> stop'], actions: {plateau: null}}\n"
        "wandb: {project: noon, mode: offline}\n"
        "sample_prompts: [Once]\n"
    )
    plan = RunFile.load(path)
    chief, other = (run_callbacks(plan, is_chief=is_chief) for is_chief in (True, False))
    assert [type(callback).__name__ for callback in chief] == ["Alerts", "SampleText", "WandbLog"]
    assert [type(callback).__name__ for callback in other] == ["Alerts"]
    path.write_text("stages: []\nalerts: {rule: x}\n")
    with pytest.raises(ConfigError, match="rules"):
        RunFile.load(path)


def test_a_task_mix_of_a_run_file_is_read(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "tasks: {text: 'stdlib:docs', code: 'stdlib:code'}\n"
        "curriculum:\n  max_iters: 5\n  stages:\n    - {iters: 5, weights: {text: 0.5, code: 0.5}}\n"
    )
    assert RunFile.load(path).has_task_mix
    path.write_text("stages: []\ncurriculum: {enabled: false, stages: []}\n")
    assert not RunFile.load(path).has_task_mix


@pytest.mark.parametrize(
    "options",
    [["--skip-bad"], ["--balance", "equal"], ["--domains", "a"], ["--steps", "5"], ["--documents", "3"]],
)
def test_options_of_data_are_refused_beside_a_file(options, tmp_path):
    (tmp_path / "run.yaml").write_text("stages: [{name: all, datasets: stdlib, steps: 5}]\n")
    with pytest.raises(ConfigError, match=f"{options[0]} belongs to --data"):
        read_run(parse(["train", "--config", str(tmp_path / "run.yaml"), *options]))


def test_domains_and_skipping_reach_the_dataset():
    options = ["--domains", "a,b", "c", "--skip-bad", "--documents", "7", "--balance", "2"]
    plan = read_run(parse(["train", "--data", "texts", *options]))
    (dataset,) = plan.stages[0]["datasets"]
    assert dataset == {"name": "texts", "domains": ["a", "b", "c"], "skip_bad": True, "documents": 7}
    assert plan.stages[0]["balance"] == 2.0


def test_a_tilde_in_a_file_is_the_home_folder(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = RunFile.load(write("output: ~/runs/a\ndata_dir: '~'\ncheckpoint_dir: ~no-such-user/c\n"))
    assert (run.output, run.data_dir) == (str(tmp_path / "runs" / "a"), str(tmp_path))
    assert run.checkpoint_dir == "~no-such-user/c"


@pytest.mark.parametrize("option", ["--extend", "--allow-plan-change"])
def test_an_option_of_resuming_is_refused_where_nothing_is_resumed(write, option):
    words = ["train", "--config", write(RUN), option]
    with pytest.raises(ConfigError, match=f"{option} is for a resumed run; give --resume"):
        read_run(parse(words))
    assert read_run(parse([*words, "--resume"])).output == "my-run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: {a: a.txt}\nstages: [{name: a, datasets: a.txt}]", "`tasks` are for `curriculum`"),
        ("tasks: {a: a.txt}\ncurriculum: {stages: []}", "the task mix has no stages"),
        ("curriculum: {stages: [{iters: 5, weights: {a: 1}}]}", "which has no data; tasks are none"),
        (
            "stages: [{name: a, datasets: a.txt, scheduler: {strategy: reference_loss}}]",
            "`strategy: reference_loss` and `reference_model`.* need each other",
        ),
        (
            "stages: [{name: a, datasets: a.txt, scheduler: {strategy: reference_loss, "
            "reference_model: /no}}]",
            "`reference_model` must be the folder of a saved model.*; received '/no'",
        ),
    ],
)
def test_what_a_run_would_ignore_or_miss_is_refused_before_it(write, text, message):
    with pytest.raises(ConfigError, match=message):
        check_run(RunFile.load(write(text)))
