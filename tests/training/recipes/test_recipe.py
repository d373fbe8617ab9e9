from __future__ import annotations

import argparse

import pytest

from highnoon.cli.__main__ import parse
from highnoon.cli.recipe_words import dotted_words
from highnoon.cli.train import read_recipe
from highnoon.config import ConfigError, get_preset_config, is_given
from highnoon.training.recipes.check_recipe import check_recipe, recipe_callbacks
from highnoon.training.recipes.recipe import Recipe

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
    run = Recipe.load(write(RUN))
    config = run.config()
    assert config.model.embedding_dim == 64
    assert (config.training.learning_rate, config.training.batch_size) == (1e-3, 4)
    assert config.model.num_moe_experts == get_preset_config("highnoon-nano").model.num_moe_experts
    assert [stage["name"] for stage in run.stages] == ["easy", "hard"]
    assert run.output == "my-run"


def test_dotted_options_win_over_the_file_even_under_another_name(write):
    words = "--model.embedding_dim 32 --training.learning_rate=3e-4 --training.warmup_steps null"
    fields = dotted_words(words.split())
    config = Recipe.load(write(RUN), fields).config()
    assert (config.model.embedding_dim, config.training.learning_rate) == (32, 3e-4)
    assert not is_given(config.training.warmup_steps)


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
        Recipe.load(write(text)).config()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.embeding_dim", "4"], "did you mean `embedding_dim`"),
        (["--modl.embedding_dim", "4"], "has no key `modl`; did you mean `model`"),
        (["--model.d_model", "4", "--model.d_model=5"], "given twice"),
        (["--model.d_model", "4", "--model.embedding_dim=5"], "`d_model` and `embedding_dim`, which name"),
    ],
)
def test_a_misspelt_dotted_option_is_an_error(words, message):
    with pytest.raises(ConfigError, match=message):
        Recipe().with_overrides(dotted_words(words)).config()


@pytest.mark.parametrize("words", [["--model.embedding_dim"], ["--model.embedding_dim", "4", "5"]])
def test_a_dotted_option_takes_one_value(words):
    with pytest.raises(argparse.ArgumentError):
        dotted_words(words)


def test_alerts_and_wandb_of_a_recipe_become_callbacks(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "stages: [{name: all, datasets: stdlib, steps: 5}]\n"
        "alerts: {rules: ['train/grad_norm > 50 for 3 -> stop'], actions: {plateau: null}}\n"
        "wandb: {project: noon, mode: offline}\n"
        "sample_prompts: [Once]\n"
    )
    plan = Recipe.load(path)
    chief, other = (recipe_callbacks(plan, is_chief=is_chief) for is_chief in (True, False))
    assert [type(callback).__name__ for callback in chief] == ["Alerts", "SampleText", "WandbLog"]
    assert [type(callback).__name__ for callback in other] == ["Alerts"]
    path.write_text("stages: []\nalerts: {rule: x}\n")
    with pytest.raises(ConfigError, match="rules"):
        Recipe.load(path)


def test_a_task_mix_of_a_recipe_is_read(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "tasks: {text: 'stdlib:docs', code: 'stdlib:code'}\n"
        "curriculum:\n  max_iters: 5\n  stages:\n    - {iters: 5, weights: {text: 0.5, code: 0.5}}\n"
    )
    assert Recipe.load(path).has_task_mix
    path.write_text("stages: []\ncurriculum: {enabled: false, stages: []}\n")
    assert not Recipe.load(path).has_task_mix


@pytest.mark.parametrize(
    "options",
    [["--skip-bad"], ["--balance", "equal"], ["--domains", "a"], ["--steps", "5"], ["--documents", "3"]],
)
def test_options_of_data_are_refused_next_to_a_file(options, tmp_path):
    (tmp_path / "run.yaml").write_text("stages: [{name: all, datasets: stdlib, steps: 5}]\n")
    with pytest.raises(ConfigError, match=f"{options[0]} belongs to --data"):
        read_recipe(parse(["train", "--config", str(tmp_path / "run.yaml"), *options]))


def test_domains_and_skipping_reach_the_dataset():
    options = ["--domains", "a,b", "c", "--skip-bad", "--documents", "7", "--balance", "2"]
    plan = read_recipe(parse(["train", "--data", "texts", *options]))
    (dataset,) = plan.stages[0]["datasets"]
    assert dataset == {"name": "texts", "domains": ["a", "b", "c"], "skip_bad": True, "documents": 7}
    assert plan.stages[0]["balance"] == 2.0


def test_a_tilde_in_a_file_is_the_home_folder(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = Recipe.load(write("output: ~/runs/a\ndata_dir: '~'\ncheckpoint_dir: ~no-such-user/c\n"))
    assert (run.output, run.data_dir) == (str(tmp_path / "runs" / "a"), str(tmp_path))
    assert run.checkpoint_dir == "~no-such-user/c"


@pytest.mark.parametrize("option", ["--extend", "--allow-plan-change"])
def test_an_option_of_resuming_is_refused_where_nothing_is_resumed(write, option):
    words = ["train", "--config", write(RUN), option]
    with pytest.raises(ConfigError, match=f"{option} is for a resumed run; give --resume"):
        read_recipe(parse(words))
    assert read_recipe(parse([*words, "--resume"])).output == "my-run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: {a: a.txt}\nstages: [{name: a, datasets: a.txt}]", "`tasks` are for `curriculum`"),
        ("tasks: {a: a.txt}\ncurriculum: {stages: []}", "the task mix has no stages"),
        (
            "curriculum: {stages: [{iters: 5, weights: {a: 1}}]}",
            "weighs the task .a., which has no data; tasks: bash_command",
        ),
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
        check_recipe(Recipe.load(write(text)))


def test_an_unknown_key_is_named_with_its_line_and_the_nearest(write):
    path = write("preset: highnoon-nano\ntraining:\n  batch_size: 4\n  learning_rat: 3\nstages: []\n")
    with pytest.raises(ConfigError, match="line 4: `training` has no key `learning_rat`; did you mean"):
        Recipe.load(path)
    with pytest.raises(ConfigError, match="line 2: the recipe has no key `stges`; did you mean `stages`"):
        Recipe.load(write("preset: highnoon-nano\nstges: []\n"))
    with pytest.raises(ConfigError, match="line 3: stage 1 has no key `stps`; did you mean `steps`"):
        Recipe.load(write("stages:\n  - name: a\n    stps: 4\n    datasets: x\n"), {"output": "o"})


def test_overrides_reach_any_depth_and_change_nothing_else(write):
    path = write(RUN)
    recipe = Recipe.load(
        path, ["model.lora.rank=4", "stages.1.weight=3", "stages.easy.steps=7", "alerts.rules=[]", "output=b"]
    )
    assert recipe.model["lora"] == {"rank": 4} and recipe.model["embedding_dim"] == 64
    assert [stage.get("steps") for stage in recipe.stages] == [7, None]
    assert [stage.get("weight") for stage in recipe.stages] == [None, 3]
    assert recipe.output == "b" and Recipe.load(path).output == "my-run"
    assert recipe.with_overrides({"output": "my-run", "stages.easy.steps": 5}).stages[0]["steps"] == 5


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stages.2.steps=4", "`stages.2.steps` cannot be set: no entry is called '2'"),
        ("stages.eazy.steps=4", "did you mean `easy`"),
        ("modl.dropout=1", "no key `modl`; did you mean `model`"),
        ("model.dropot=1", "no key `dropot`; did you mean `dropout`"),
        ("output.x=1", "`output.x` cannot be set: `output` is 'my-run', not a mapping or a list"),
        ("model.dropout", "an override must be KEY=VALUE"),
        ("model.dropout=[", "model.dropout is not valid YAML"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(write, word, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.load(write(RUN), [word])


def test_steps_replace_the_length_of_every_stage(write):
    recipe = Recipe.load(write(RUN), {"steps": 2})
    assert [(stage["steps"], "epochs" in stage) for stage in recipe.stages] == [(2, False), (2, False)]
    mix = "tasks: {a: x.txt}\ncurriculum: {max_iters: 9, stages: [{max_steps: 9, weights: {a: 1.0}}]}\n"
    (stage,) = Recipe.load(write(mix), {"steps": 2}).curriculum["stages"]
    assert stage == {"weights": {"a": 1.0}, "iters": 2}


def test_the_resolved_recipe_is_read_back_and_describes_the_same_run(write, tmp_path):
    recipe = Recipe.load(write(RUN), {"alerts": {"rules": ["train/loss > 9 -> stop"]}, "resume_from": True})
    recipe.save(tmp_path / "run" / "recipe.yaml")
    for folder in ("run", "run/checkpoints/step_00000005"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        again = Recipe.load(tmp_path / folder)
        assert again.config() == recipe.config() and again.to_dict() == recipe.to_dict()
        assert check_recipe(again) == check_recipe(recipe)
        assert again.resume_from is None and again.preset is None
    with pytest.raises(ConfigError, match="there is no recipe.yaml in "):
        (tmp_path / "empty" / "a" / "b").mkdir(parents=True)
        Recipe.load(tmp_path / "empty" / "a" / "b")


def test_whether_epochs_were_given_survives_saving(tmp_path):
    stage = {"name": "a", "datasets": "x.txt"}
    for training, is_there in (({}, False), ({"epochs": 100}, True)):
        Recipe(training=training, stages=[stage]).save(tmp_path / "recipe.yaml")
        again = Recipe.load(tmp_path / "recipe.yaml")
        assert is_given(again.config().training.epochs) == is_there
        assert not is_given(again.epochs_per_stage)


def test_a_recipe_with_an_object_of_python_is_not_written(tmp_path):
    recipe = Recipe(stages=[{"name": "a", "datasets": [object()]}])
    with pytest.raises(ConfigError, match="`datasets` has a value that a file cannot hold; received <object"):
        recipe.save(tmp_path / "recipe.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["{file}", "model.dropout=0.5", "--output", "a=b"],
        ["{file}", "--output", "a=b", "model.dropout=0.5"],
        ["model.dropout=0.5", "--config", "{file}", "--output", "a=b"],
        ["{file}", "--model.dropout", "0.5", "--output=a=b"],
        ["{file}", "--resume", "model.dropout=0.5", "output=a=b"],
    ],
)
def test_words_of_a_recipe_may_come_anywhere_but_as_the_value_of_an_option(write, words):
    arguments = parse(["train", *(word.format(file=write(RUN)) for word in words)])
    recipe = read_recipe(arguments)
    assert recipe.output == "a=b" and recipe.model["dropout"] == 0.5
    assert recipe.resume_from is (True if "--resume" in words else None)


def test_a_key_that_an_option_and_a_word_set_is_refused(write):
    words = ["train", write(RUN), "output=a", "--output", "b"]
    with pytest.raises(ConfigError, match="`output` is given twice"):
        read_recipe(parse(words))
    with pytest.raises(SystemExit):
        parse(["train", write(RUN), "--config", write(RUN)])


@pytest.mark.parametrize(
    "text, message",
    [
        ("epochs: 3\n", "line 1: the recipe has no key `epochs` at the top level; write `training.epochs`"),
        ("dropout: 0.1\n", "no key `dropout` at the top level; write `model.dropout`"),
        (
            "data: texts\n",
            "no key `data` at the top level; write `stages: \\[{name: train, datasets: PATH}\\]`",
        ),
    ],
)
def test_a_key_at_the_wrong_level_is_answered_with_the_right_one(write, text, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.load(write(text))


def test_a_word_at_the_wrong_level_is_answered_with_the_right_one(write):
    with pytest.raises(ConfigError, match="write `training.epochs`"):
        Recipe.load(write(RUN), ["epochs=3"])


def test_a_family_has_the_arguments_of_its_class(tmp_path):
    stage = {"name": "a", "datasets": "x.txt"}
    recipe = Recipe(model={"family": "mine", "num_gates": 3}, stages=[stage]).with_overrides({"model.lr": 2})
    assert recipe.model == {"family": "mine", "num_gates": 3, "lr": 2}
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml").model == recipe.model
