"""`--from`, `--lora` and the options of records are words for keys of a recipe."""

from __future__ import annotations

import json
import pathlib
import shlex

import pytest

import highnoon as hn
from highnoon.cli.__main__ import main
from highnoon.cli.data_options import KIND_WORDS, KINDS
from highnoon.data.records import record_kind
from highnoon.models.adapters import load_adapter, save_adapter
from highnoon.tokenization import ByteTokenizer
from highnoon.training.recipes import Recipe

SHAPE = {
    "vocab_size": 263,
    "embedding_dim": 16,
    "num_reasoning_blocks": 1,
    "num_heads": 2,
    "max_seq_length": 64,
    "block_pattern": "attention+mlp",
}
SMALL = ["training.batch_size=2", "training.max_seq_length=64", "jit_compile=false"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """A saved model, one without a tokenizer, and records."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    model = hn.create_model("highnoon-nano", **SHAPE)
    hn.save_model(model, "bare")
    model.tokenizer = ByteTokenizer()
    hn.save_model(model, "base")
    rows = [{"question": f"What is {n}?", "answer": f"It is {n}.", "note": f"n {n}"} for n in range(30)]
    pathlib.Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_every_kind_has_a_word_and_every_word_a_kind():
    assert set(KINDS) == set(record_kind.KINDS) >= set(KIND_WORDS.values())


@pytest.mark.parametrize(
    "words, message",
    [
        (["--from", "base", "--preset", "highnoon-nano"], "leave --preset out"),
        (["--from", "base", "--lora", "0"], "`--lora` must be"),
        (["--from", "base", "--lora-targets", "query"], "are for --lora RANK"),
        (["--lora", "4"], "give it as --from MODEL"),
        (["--from", "base", "--kind", "conversatons"], "did you mean 'conversations'"),
        (["--from", "base", "--kind", "chat", "--text-field", "note"], "give one of them"),
        (["--from", "nowhere"], "no model at nowhere"),
        (["--from", "bare"], "has no tokenizer that can be read"),
        (["--from", "base", "--lora", "2", "--lora-targets", "querry"], "did you mean 'query'"),
        (["--from", "base", "--lora", "2", "--lora-alpha", "0"], "`alpha` must be a number above 0"),
        (["--from", "base", "model.embedding_dim=32"], "leave `model.embedding_dim` out"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(words, message, folder, capsys):
    assert main(["train", *words, "--data", "rows.jsonl", "--output", "out", *SMALL]) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not pathlib.Path("out", "model").exists()


def test_a_tokenizer_that_does_not_fit_the_vocabulary_is_refused(folder, capsys):
    from highnoon.data import open_source, train_tokenizer

    train_tokenizer([open_source("rows.jsonl")], vocab_size=280).save("large")
    words = ["train", "--from", "bare", "--data", "rows.jsonl", "tokenizer=large", *SMALL]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "the tokenizer has" in error and "vocab_size is 263" in error
    assert len(error.strip().splitlines()) == 1


def test_options_of_records_belong_to_data(folder, capsys):
    pathlib.Path("r.yaml").write_text("stages: [{name: a, datasets: rows.jsonl, steps: 1}]\n")
    assert main(["train", "r.yaml", "--text-field", "note"]) == 1
    assert "--text-field belongs to --data" in capsys.readouterr().err


@pytest.mark.slow
def test_full_fine_tuning_continues_the_weights_with_their_tokenizer(folder, capsys):
    assert (
        main(["train", "--from", "base", "--data", "rows.jsonl", "--steps", "2", "--output", "out", *SMALL])
        == 0
    )
    printed = capsys.readouterr().out
    assert "learning rate of 2e-05" in printed and "all " in printed and "for 2 steps" in printed
    base, tuned = hn.load_model("base"), hn.load_model("out")
    assert tuned.tokenizer.to_json() == base.tokenizer.to_json()
    changes = [abs(a.numpy() - b.numpy()).max() for a, b in zip(base.weights, tuned.weights, strict=True)]
    assert 0 < max(changes) < 1e-3
    assert not pathlib.Path("out/adapter").exists()
    recipe = Recipe.load("out")
    assert recipe.model["path"] == "base"
    assert recipe.stages[0]["datasets"] == [{"name": "rows.jsonl", "chat_template": "model"}]


@pytest.mark.slow
def test_a_run_of_lora_is_resumed_to_the_bit_and_its_adapter_trained_further(folder, capsys):
    words = ["train", "--from", "base", "--data", "rows.jsonl", "--text-field", "note", "--lora", "2"]
    saved = ["checkpoint_interval=2", *SMALL]
    assert main([*words, "--steps", "4", "--output", "one", *saved]) == 0
    shown = capsys.readouterr().out
    assert "highnoon chat --model base --adapter one/adapter" in shown
    assert "highnoon export --model one --output one-hf" in shown
    assert main([*words, "--steps", "4", "--output", "two", *saved]) == 0
    # The second run is taken up again at its second step.
    checkpoints = pathlib.Path("two/checkpoints")
    assert (
        main(
            [
                *words,
                "--steps",
                "4",
                "--output",
                "two",
                *saved,
                "--resume",
                str(checkpoints / "step_00000002"),
            ]
        )
        == 0
    )
    # The run is the name of its adapter too, and its factors are continued without --lora.
    capsys.readouterr()
    for adapter in ("one", "one/adapter"):
        words_of = ["generate", "base", "--adapter", adapter, "--prompt", "n", "--temperature", "0"]
        assert main([*words_of, "--max-length", "4"]) == 0
    shown = capsys.readouterr().out
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    assert main(["train", "--from", "one", "--lora", "2", "--data", "rows.jsonl", *SMALL]) == 1
    assert "leave --lora out to train them further" in capsys.readouterr().err
    one, two = (pathlib.Path(run, "adapter/adapter.safetensors").read_bytes() for run in ("one", "two"))
    assert one == two
    # An adapter alone is a model to start from: its factors are trained further.
    assert (
        main(
            [
                "train",
                "--from",
                "one/adapter",
                "--data",
                "rows.jsonl",
                "--steps",
                "1",
                "--output",
                "three",
                *SMALL,
            ]
        )
        == 0
    )
    tuned = hn.load_model("three")
    assert {weight.path.rpartition("/")[2] for weight in tuned.trainable_weights} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    assert json.loads(pathlib.Path("three/adapter/adapter.json").read_text())["base"]["path"].endswith("base")
    assert Recipe.load("three").training["learning_rate"] == 2e-4


def test_data_of_another_encoding_is_trained_on(folder, capsys):
    from highnoon.cli.__main__ import parse
    from highnoon.cli.train import read_recipe

    text = "".join(f"Zwölf Bären übten am Mittag Nummer {n}.\n\n" for n in range(60))
    pathlib.Path("old.txt").write_bytes(text.encode("cp1252"))
    shape = [f"model.{key}={value}" for key, value in SHAPE.items()]
    words = ["--steps", "2", "--output", "out", *SMALL, *shape]
    recipe = read_recipe(parse(["train", "--data", "old.txt", "--encoding", "cp1252"]))
    assert recipe.stages[0]["datasets"] == [{"name": "old.txt", "encoding": "cp1252"}]
    assert main(["train", "--data", "old.txt", *words]) == 1
    assert "--encoding cp1252" in capsys.readouterr().err
    assert main(["train", "--data", "old.txt", "--encoding", "cp1252", *words]) == 0
    pathlib.Path("r.yaml").write_text("stages: [{name: a, datasets: [old.txt]}]")
    assert main(["train", "r.yaml", "--encoding", "cp1252"]) == 1
    assert "--encoding belongs to --data" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, words",
    [
        ("one.txt", []),
        ("old.txt", ["--encoding", "cp1252"]),
        ("rows.jsonl", ["--text-field", "note"]),
        ("rows.jsonl", ["--template", "{question} {answer}", "--learned-fields", "answer"]),
        ("bad.jsonl", ["--skip-bad", "--text-field", "note"]),
        ("rows.jsonl", []),
    ],
)
def test_the_next_command_that_train_prints_measures_what_the_run_held_out(folder, capsys, name, words):
    text = "".join(f"Zwölf Bären übten am Mittag Nummer {n}. " for n in range(60))
    pathlib.Path("one.txt").write_text(text)
    pathlib.Path("old.txt").write_bytes(text.encode("cp1252"))
    pathlib.Path("bad.jsonl").write_text(pathlib.Path("rows.jsonl").read_text() + "{no record}\n")
    shape = [f"model.{key}={value}" for key, value in SHAPE.items()]
    small = [*SMALL, *shape, "training.validation_split=0.3"]
    assert main(["train", "--data", name, *words, "--steps", "1", "--output", "out", *small]) == 0
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if line.startswith("  highnoon evaluate"))
    assert main([*shlex.split(line)[1:], "--batch-size", "2"]) == 0
    figures = printed[printed.index("\ntokens  ") + 1 :].splitlines()
    assert capsys.readouterr().out.splitlines()[-len(figures[:4]) :][0] == figures[0]


def test_an_adapter_is_inspected_and_found_in_its_run(folder, capsys):
    model = hn.load_model("base")
    model.enable_lora(2)
    save_adapter(model, "run/adapter", base_path="base")
    assert main(["inspect", "run/adapter"]) == 0
    shown = capsys.readouterr().out
    assert "adapter of" in shown and "base" in shown and "factors of rank 2 on" in shown
    assert main(["inspect", "run/adapter", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["lora_rank"], facts["damage"]) == ("adapter", "2", None)
    assert facts["weights"]["num_values"] == sum(w.numpy().size for w in model.trainable_weights)
    assert main(["inspect", "run/adapter", "run/adapter"]) == 0
    assert "arrays are bit-identical" in capsys.readouterr().out
    again = hn.load_model("base")
    load_adapter(again, "run")
    assert again.backbone.lora is not None
    factors = pathlib.Path("run/adapter/adapter.safetensors")
    factors.write_bytes(factors.read_bytes()[:-4])
    assert main(["inspect", "run/adapter"]) == 0
    assert "damaged" in capsys.readouterr().out


def test_a_chat_template_that_is_new_to_frozen_weights_is_noted(folder):
    turns = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "me."}]
    for rank in (None, 2):
        model = hn.load_model("base")
        if rank is not None:
            model.enable_lora(rank)
        trainer = hn.Trainer(model, batch_size=2, max_seq_length=64)
        trainer.add_curriculum_stage("all", [{"messages": turns}] * 8, steps=1)
        is_noted = any("the base's tokenizer has no chat template" in note for note in trainer.plan().notes)
        assert is_noted == (rank is not None)
