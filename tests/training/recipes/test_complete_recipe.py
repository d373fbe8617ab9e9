"""What a recipe leaves open is chosen; what it says is never changed; a resumed run keeps its choice."""

from __future__ import annotations

import dataclasses
import importlib
import json

import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.training.recipes import Machine
from highnoon.training.recipes.complete_recipe import complete_recipe

LAPTOP = Machine(num_cores=2, memory_bytes=8 * 2**30)
GPUS = Machine(num_cores=64, memory_bytes=2**40, num_gpus=8, gpu_capability=9)


@pytest.fixture(autouse=True)
def machine(monkeypatch) -> list[Machine]:
    """The machine that the choice sees, in a list so that a test can change it."""
    now = [LAPTOP]
    monkeypatch.setattr(Machine, "this", lambda: now[0])
    return now


def recipe(corpus: str, **keys) -> hn.Recipe:
    stage = {"name": "train", "datasets": [corpus], **keys.pop("stage", {})}
    return hn.Recipe(stages=[stage], verbose=keys.pop("verbose", False), **keys)


def test_a_recipe_that_says_nothing_gets_a_small_model_and_says_so(corpus, capsys):
    done = recipe(corpus, verbose=True).completed()
    config = done.config()
    assert (done.preset, config.model.vocab_size, config.training.learning_rate) == (
        "highnoon-nano",
        512,
        3e-3,
    )
    assert done.stages[0]["epochs"] == 40 and done.restore_best
    assert config.training.early_stopping_patience == 3
    printed = capsys.readouterr().out
    assert "model: highnoon-nano with a vocabulary of 512: " in printed and "length: 40 epochs" in printed
    assert done.completed() is done


@pytest.mark.parametrize(
    "keys",
    [
        {"preset": "highnoon-tiny"},
        {"model": {"path": "somewhere"}},
        {"model": {"embedding_dim": 64, "vocab_size": 300}},
        {"model": {"family": "one-of-mine"}},
    ],
)
def test_a_model_that_is_given_stays_and_so_does_its_length(corpus, keys):
    given = recipe(corpus, **keys)
    assert given.completed() is given


def test_the_command_line_chooses_the_length_of_a_given_model_too(corpus):
    done = complete_recipe(recipe(corpus, preset="highnoon-nano"), chooses_length=True)
    assert (done.preset, done.model, done.stages[0]["epochs"]) == ("highnoon-nano", {}, 40)
    done = complete_recipe(recipe(corpus, model={"path": "somewhere"}), chooses_length=True)
    assert done.model == {"path": "somewhere"} and done.stages[0]["epochs"] == 40


def test_only_what_is_open_is_chosen(corpus):
    done = recipe(
        corpus,
        model={"dropout": 0.1, "vocab_size": 300},
        training={"early_stopping_patience": None, "learning_rate": 1e-3, "validation_split": 0.2},
        stage={"steps": 7},
        restore_best=False,
    ).completed()
    config = done.config()
    assert (config.model.vocab_size, config.model.dropout, config.training.learning_rate) == (300, 0.1, 1e-3)
    assert done.stages[0] == {"name": "train", "datasets": [corpus], "steps": 7}
    assert config.training.early_stopping_patience is None and done.restore_best is False
    done = recipe(corpus, epochs_per_stage=2).completed()
    assert "epochs" not in done.stages[0] and done.preset == "highnoon-nano"
    done = recipe(corpus, model={"embedding_dim": 64}).completed()
    assert (done.preset, done.model) == (None, {"embedding_dim": 64, "vocab_size": 512})


def test_a_tokenizer_that_is_given_says_the_vocabulary(corpus, tmp_path):
    tokenizer = hn.tokenization.BytePairTokenizer(290).train_from_texts(["the sun at noon"] * 20)
    tokenizer.save(tmp_path / "tok")
    done = recipe(corpus, tokenizer=str(tmp_path / "tok")).completed()
    assert done.model["vocab_size"] == tokenizer.vocab_size


def test_prepared_data_says_the_vocabulary(corpus, tmp_path):
    tokenizer = hn.tokenization.ByteTokenizer()
    hn.data.prepare(hn.data.open_source(corpus), tokenizer, tmp_path / "prepared")
    done = recipe(str(tmp_path / "prepared")).completed()
    assert done.model["vocab_size"] == tokenizer.vocab_size


def test_a_run_that_resumes_keeps_its_choice_on_any_machine(corpus, tmp_path, machine):
    first = recipe(corpus, output=str(tmp_path / "run")).completed()
    first.save(tmp_path / "run" / "recipe.yaml")
    machine[0] = GPUS
    (tmp_path / "more.txt").write_text("Noon. " * 10_000)
    resumed = recipe(corpus, output=str(tmp_path / "run"), resume_from=True).completed()
    assert resumed.config() == first.config()
    assert (resumed.stages, resumed.restore_best) == (first.stages, first.restore_best)
    (tmp_path / "run" / "checkpoints" / "step_00000001").mkdir(parents=True)
    path = str(tmp_path / "run" / "checkpoints" / "step_00000001")
    assert recipe(corpus, resume_from=path).completed().config() == first.config()


def test_a_run_that_resumes_without_its_recipe_must_say_its_model(corpus, tmp_path):
    (tmp_path / "checkpoints" / "step_00000001").mkdir(parents=True)
    lost = recipe(corpus, resume_from=str(tmp_path / "checkpoints"))
    with pytest.raises(ConfigError, match="has no recipe.yaml, .* give the model that it began with"):
        lost.completed()
    assert dataclasses.replace(lost, preset="highnoon-nano").completed().preset == "highnoon-nano"


def held_out_text(num_repeats: int, number: int = 0) -> str:
    """Returns a text that the hash holds out; different for each `number`."""
    from highnoon.data.tokens.splitting import split_hash, split_threshold

    texts = (f"Noon number {n} of {number}. " * num_repeats for n in range(500))
    return next(text for text in texts if split_hash(text) < split_threshold(0.1))


def test_an_only_document_has_its_end_held_out_whatever_its_hash(tmp_path, capsys):
    (tmp_path / "one.txt").write_text(held_out_text(30))
    done = recipe(str(tmp_path / "one.txt"), verbose=True).completed()
    assert done.config().training.validation_split == 0.1
    assert "held out: nothing" not in capsys.readouterr().out
    assert done.restore_best


def test_stages_of_one_document_each_train_with_their_ends_held_out(tmp_path):
    stages = []
    for number in range(2):
        path = tmp_path / f"{number}.txt"
        path.write_text(held_out_text(60, number))
        stages.append({"name": str(number), "datasets": [str(path)], "steps": 2})
    keys = {"output": str(tmp_path / "run"), "training": {"batch_size": 2, "max_seq_length": 32}}
    done = hn.Recipe(stages=stages, verbose=False, **keys).completed()
    assert done.config().training.validation_split == 0.1
    small = {"embedding_dim": 16, "num_reasoning_blocks": 1, "block_pattern": "attention+mlp", "num_heads": 2}
    summary = dataclasses.replace(done, preset=None, model={**small, "vocab_size": 300}).train()
    assert [stage["val_loss"] > 0 for stage in summary["stages_completed"]] == [True, True]


def test_a_text_too_short_to_cut_that_would_be_held_out_trains_without(tmp_path, capsys):
    (tmp_path / "one.txt").write_text(held_out_text(3))
    done = recipe(str(tmp_path / "one.txt"), verbose=True).completed()
    assert done.config().training.validation_split == 0.0
    assert "held out: nothing, since the text is too short" in capsys.readouterr().out
    assert not done.restore_best
    given = recipe(str(tmp_path / "one.txt"), training={"validation_split": 0.3}).completed()
    assert given.config().training.validation_split == 0.3


def test_stages_share_the_steps_of_a_run_that_reads_a_part_of_the_text(corpus, other_corpus, monkeypatch):
    module = importlib.import_module("highnoon.training.recipes.choose_preset")
    monkeypatch.setattr(module, "CPU_SECONDS", 0.05)
    stages = [{"name": name, "datasets": [path]} for name, path in (("a", corpus), ("b", other_corpus))]
    done = hn.Recipe(stages=stages, verbose=False, training={"batch_size": 1}).completed()
    assert all(set(stage) == {"name", "datasets", "steps"} and stage["steps"] >= 1 for stage in done.stages)


def test_workers_on_several_machines_must_name_their_model(corpus, monkeypatch):
    cluster = {
        "cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
        "task": {"type": "worker", "index": 0},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(ConfigError, match="a run on several machines must name its model"):
        recipe(corpus).completed()
    cluster["cluster"]["worker"] = ["127.0.0.1:2222", "127.0.0.1:2223"]
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert recipe(corpus).completed().preset == "highnoon-nano"
