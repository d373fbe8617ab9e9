"""Every verb has an example in its help, and every example runs, on a tiny run that is made once."""

import functools
import json
import pathlib
import re
import shlex
import shutil
import sys

import pytest

from highnoon.cli import demo
from highnoon.cli.__main__ import EPILOG, VERBS, build_parser, main
from highnoon.cli.parser import inner_verbs
from highnoon.cli.process.next_command import examples
from highnoon.config import ModelConfig

SHRUNK = (
    "model.vocab_size=300 model.embedding_dim=8 model.num_heads=1 model.num_reasoning_blocks=1 "
    "model.num_moe_experts=2 model.max_seq_length=128 training.max_seq_length=32 training.batch_size=2"
).split()
RECIPE = {
    "preset": "highnoon-nano",
    "model": {"vocab_size": 300, "embedding_dim": 8, "num_heads": 1, "num_reasoning_blocks": 1},
    "training": {"max_seq_length": 32, "batch_size": 2},
    "stages": [{"name": "texts", "datasets": ["my_texts"], "steps": 3}],
}
EXPERTS = {
    "checkpoint_dir": "checkpoints",
    "data": {"data_dir": "my_texts", "tokenizer": "byte"},
    "model": {"d_model": 8, "max_seq_len": 32, "n_heads": 1},
    "transformer": {"n_layers": 1, "ffn_mult": 1},
    "state_space": {"n_layers": 1, "d_state": 2},
    "mla": {"n_heads": 1},
    "train_expert": {"max_epochs": 1},
    "train_mla": {"max_epochs": 1},
    "experts": {"transformer": {}, "state_space": {}},
}
RECIPE["model"] |= {"num_moe_experts": 2, "max_seq_length": 128, "block_pattern": "attention+moe"}


def parsers(parser=None, name="highnoon"):
    """Every verb that does something by itself, with its parser."""
    parser = build_parser() if parser is None else parser
    inner = inner_verbs(parser)
    if not inner:
        yield name, parser
    for word, one in inner.items():
        yield from parsers(one, f"{name} {word}")


def all_examples():
    found = dict.fromkeys(re.findall(r"^  (highnoon .*?)  ", EPILOG, re.MULTILINE), "highnoon")
    found.pop("highnoon VERB --help")
    for verb in (build_parser(), *inner_verbs(build_parser()).values()):
        found |= dict.fromkeys(examples(verb.description), verb.prog)
    for name, parser in parsers():
        found |= dict.fromkeys(examples(parser.description), name)
    return found


@pytest.mark.parametrize("name, parser", [pytest.param(*pair, id=pair[0]) for pair in parsers()])
def test_every_verb_has_an_example_of_itself(name, parser):
    assert any(example.split("| ")[-1].startswith(name) for example in examples(parser.description)), (
        f"the help of `{name}` has no example: a line of its docstring, indented by two, with a command"
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with what the examples name: texts, records, a recipe, prepared tokens, and a run."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HIGHNOON_CACHE", str(folder / "cache"))
        pathlib.Path("my_texts").mkdir()
        for number in range(40):
            text = f"Noon {number}: the sun stands high over the module.\n" * (3 + number % 4)
            pathlib.Path(f"my_texts/{number}.txt").write_text(text)
        records = [{"title": f"Noon {n}", "body": f"the sun {n}", "text": f"text {n}"} for n in range(12)]
        for name in ("records", "benchmark", "gsm8k_test", "humaneval"):
            pathlib.Path(f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
        pathlib.Path("notes.csv").write_text("title,body\nNoon,the sun\n")
        chats = [
            {"messages": [{"role": "user", "content": "Noon?"}, {"role": "assistant", "content": "Yes."}]}
        ]
        pathlib.Path("chats.jsonl").write_text("".join(json.dumps(one) + "\n" for one in 12 * chats))
        pairs = [{"prompt": f"{n}+1?", "chosen": f"{n + 1}", "rejected": "no"} for n in range(12)]
        pathlib.Path("preferences.jsonl").write_text("".join(json.dumps(one) + "\n" for one in pairs))
        pathlib.Path("recipe.yaml").write_text(json.dumps(RECIPE))
        pathlib.Path("hosts.txt").write_text("localhost 2\n")
        pathlib.Path("my_program.py").write_text("import os\nprint('rank', os.environ['RANK'])\n")
        assert (
            main(["train", "recipe.yaml", "output=my-run", "checkpoint_interval=1", "run_name=baseline"]) == 0
        )
        tuning = ["train", "--from", "my-run", "--data", "chats.jsonl", "--lora", "2", "--output", "tuned"]
        assert main([*tuning, "--steps", "1", "training.max_seq_length=32", "training.batch_size=2"]) == 0
        shutil.copytree("my-run/model", "my-llama")
        shutil.copytree("my-run", "highnoon-demo")
        shutil.copytree("my-run", "runs/first")
        pathlib.Path("my-run/checkpoints/interrupted").write_text(
            pathlib.Path("my-run/checkpoints/latest").read_text()
        )
        assert main(["data", "prepare", "my_texts/", "--output", "prepared", "--vocab-size", "300"]) == 0
        pathlib.Path("recipes").mkdir()
        pathlib.Path("recipes/experts.yaml").write_text(json.dumps(EXPERTS))
        assert main(["experts", "run", "recipes/experts.yaml"]) == 0
    return folder


def in_small(words):
    """The words of an example with the sizes of a test, and on this machine alone."""
    words = [{"1200": "2", "8192": "300"}.get(word, word) for word in words]
    if words[0] == "train":
        if "--resume" in words:
            return words
        if "--from" in words:
            return [*words, "training.max_seq_length=32", "training.batch_size=2"]
        first = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
        return [*words[:first], *SHRUNK, *words[first:]]
    if words[0] == "experts" and words[1] in ("pretrain", "train-router"):
        small = [*words, "--d_model", "8", "--max_seq_len", "32", "--n_heads", "1", "--max_epochs", "1"]
        is_router = words[1] == "train-router"
        router = ["--experts", "transformer", "state_space", "--n_experts", "2"]
        return [*small, *(router if is_router else ["--n_layers", "1", "--ffn_mult", "1"])]
    if words[0] == "align":
        return [*words, "training.max_seq_length=64", "training.batch_size=2", "--steps", "1"]
    if words[0] == "launch":
        is_program = any(word.endswith(".py") for word in words)
        return words if is_program else [words[0], "--print-commands", *words[1:]]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("example", all_examples())
def test_an_example_of_the_help_runs(prepared, tmp_path, monkeypatch, capsys, example):
    folder = tmp_path / "here"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HIGHNOON_CACHE", str(prepared / "cache"))
    before, _, command = example.rpartition("| ")
    words = shlex.split(command)[1:]
    if words[0] == "demo":
        small = functools.partial(
            demo.DemoSettings,
            model=ModelConfig(vocab_size=300, embedding_dim=8, num_reasoning_blocks=1, max_seq_length=64),
            stages=(("one", ("my_texts",), 1.0),),
            calibration_steps=2,
            prompts=("Noon",),
            prompt_tokens=4,
        )
        monkeypatch.setattr(demo, "DemoSettings", small)
        words += [] if "--minutes" in words else ["--minutes", "0.01"]
        words = ["0.01" if word == "2" else word for word in words]
    if "--preset" in words and "--resume" not in words:
        words[words.index("--preset") + 1] = "highnoon-nano"
    if words[:2] == ["data", "prepare"]:
        shutil.rmtree("prepared")
    if "--resume" in words and words[0] == "train":
        shutil.copytree("my-run", "highnoon-run")
    typed = iter(["Hello", "/exit"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(typed))
    if before:
        monkeypatch.setattr("sys.stdin", __import__("io").StringIO(shlex.split(before)[1]))
    code = main(in_small(words))
    printed = capsys.readouterr()
    # `data contamination` reports what it finds by its exit code.
    assert code == 0 or (words[:2] == ["data", "contamination"] and code == 1), printed.err
    assert "error:" not in printed.err
    assert printed.out or printed.err


def test_every_verb_of_the_table_is_a_parser():
    names = {name.split()[1] for name, _ in parsers()}
    assert names == set(VERBS) and sys.modules[main.__module__]
