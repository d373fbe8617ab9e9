"""`~` is the home folder in every path: options of all verbs, words of a recipe, and arguments of Python."""

import pathlib

import pytest

import highnoon as hn
from highnoon.callbacks.metrics_file import MetricsFile
from highnoon.cli.__main__ import build_parser, parse
from highnoon.cli.parser import inner_verbs
from highnoon.cli.path_values import PATH_METAVARS, expand_paths, path_actions
from highnoon.config import require_path
from highnoon.monitoring.metrics.find_run import require_run
from highnoon.tokenization import ByteTokenizer, load_tokenizer
from highnoon.training.runs.run_arguments import RunArguments

WORDS = {"ACTION", "VERB", "-- COMMAND ..."}


def actions_of(parser):
    yield from parser._actions
    for inner in inner_verbs(parser).values():
        yield from actions_of(inner)


def test_every_path_option_of_every_verb_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    found = 0
    for parser in inner_verbs(build_parser()).values():
        for action in path_actions(parser):
            namespace = __import__("argparse").Namespace(**{action.dest: "~/x"})
            expand_paths(namespace, parser)
            assert getattr(namespace, action.dest) == "/home/me/x"
            found += 1
    assert found > 20


def test_an_option_that_speaks_of_files_or_folders_is_a_path():
    for action in actions_of(build_parser()):
        names = {"DIR", "FILE", "FOLDER", "PATH", "CHECKPOINT", "RECIPE", "RUN", "SOURCE"}
        if set(str(action.metavar).replace("|", " ").split()) & names:
            assert action.metavar in PATH_METAVARS, action.option_strings or action.dest


@pytest.mark.parametrize("word", ["--data=~/texts", "--output=~/run", "output=~/run", "model.path=~/m"])
def test_a_path_behind_an_equals_sign_is_expanded(monkeypatch, word):
    monkeypatch.setenv("HOME", "/home/me")
    from highnoon.cli.train import read_recipe

    words = ["train", word, *([] if "--data" in word else ["--data", "~/texts"])]
    recipe = read_recipe(parse(words))
    assert "~" not in f"{recipe.stages}{recipe.output}"
    assert "/home/me/texts" in str(recipe.stages)


def test_arguments_of_python_are_expanded(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert require_path("x", "~/a") == f"{home}/a"
    assert require_path("x", pathlib.Path("~/a")) == home / "a"
    arguments = RunArguments(checkpoint_dir="~/c", log_dir="~/l", resume_from="~/r")
    assert arguments.directory == home / "c" and str(arguments.log_dir) == f"{home}/l"
    assert str(arguments.resume_path()) == f"{home}/r"
    model = hn.create_model("highnoon-nano", vocab_size=263, embedding_dim=8, num_reasoning_blocks=1)
    model.tokenizer = ByteTokenizer()
    hn.save_model(model, "~/model")
    assert hn.load_model("~/model").config == model.config
    load_tokenizer("~/model")
    hn.Trainer(model).save("~/trainer")
    hn.Trainer.load("~/trainer", model)
    assert MetricsFile("~/m.jsonl").path == home / "m.jsonl"
    (home / "run").mkdir()
    (home / "run/metrics.jsonl").write_text("{}")
    assert require_run("~/run") == home / "run/metrics.jsonl"
    assert not (tmp_path / "~").exists() and (home / "model").is_dir() and (home / "trainer").is_dir()
