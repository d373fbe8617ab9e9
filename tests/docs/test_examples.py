"""The example scripts run from beginning to end, on small data."""

from __future__ import annotations

import json
import pathlib
import runpy
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    """Runs a script as `python SCRIPT WORDS` does, in this process, which has loaded TensorFlow already."""
    monkeypatch.chdir(tmp_path)
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"The sun stands at noon over house {number}.\n" * 10)

    def run_example(script: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [script, *words])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return run_example


@pytest.fixture
def saved_model(tmp_path) -> str:
    """A folder in the form of Hugging Face, whose tokenizer knows the marks of conversations."""
    import highnoon as hn
    from highnoon.tokenization import BytePairTokenizer

    tokenizer = BytePairTokenizer(300).train_from_texts(
        ["The sun stands at noon over house 7."] * 9, chat_marks=["<|im_end|>", "<|im_start|>"]
    )
    model = hn.create_model(
        "highnoon-nano",
        vocab_size=tokenizer.vocab_size,
        block_pattern="transformer",
        embedding_dim=32,
        num_reasoning_blocks=1,
        max_seq_length=64,
    )
    model.tokenizer = tokenizer
    hn.export_model(model, tmp_path / "published")
    return "published"


@pytest.mark.slow
def test_a_model_trains_on_a_folder_and_continues_a_prompt(run_example, tmp_path):
    printed = run_example("train_own_folder.py", ".", "--epochs", "1", "--prompt", "The sun")
    assert "'bits_per_byte'" in printed and "The sun" in printed
    assert (tmp_path / "my-model" / "config.json").is_file()


@pytest.mark.slow
def test_a_scheduler_reaches_the_whole_data(run_example):
    printed = run_example("curriculum_with_scheduler.py", "--data", ".", "--steps", "12")
    assert "'fraction': 1.0" in printed


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(run_example):
    printed = run_example("stop_and_resume.py", "--data", ".", "--steps", "6")
    assert "stopped after step 3" in printed and "same weights, bit for bit: True" in printed


@pytest.mark.slow
def test_a_saved_model_is_finetuned_on_chats_continued_and_exported(run_example, saved_model, tmp_path):
    turns = [
        [
            {"role": "user", "content": f"Where is house {number}?"},
            {"role": "assistant", "content": "At noon."},
        ]
        for number in range(30)
    ]
    chats = "".join(json.dumps({"messages": messages}) + "\n" for messages in turns)
    (tmp_path / "chats.jsonl").write_text(chats)
    printed = run_example("finetune_chat.py", saved_model, "chats.jsonl", "--epochs", "1", "--rank", "2")
    assert "the chat template" in printed and (tmp_path / "chat-model" / "config.json").is_file()

    printed = run_example("generate_and_stream.py", saved_model, "The sun", "House", "--length", "8")
    assert printed.count("batch:") == 2 and "tokens a pass" in printed

    run_example("from_hugging_face.py", saved_model, "*.txt", "--steps", "2", "--length", "32")
    assert (tmp_path / "continued" / "generation_config.json").is_file()


@pytest.mark.slow
def test_a_mixer_of_ones_own_trains_and_keeps_the_protocol(run_example):
    from highnoon.config import ModelConfig
    from highnoon.models.parts import PARTS
    from highnoon.testing.check_mixer import check_mixer

    printed = run_example("custom_mixer.py", "--data", "*.txt", "--steps", "2")
    assert "step 1/2" in printed and "The " in printed
    check_mixer(PARTS["decaying_sum"]().build(ModelConfig()), width=16)


@pytest.mark.slow
def test_an_objective_of_ones_own_trains(run_example):
    printed = run_example("custom_objective.py", "--data", "*.txt", "--steps", "2", "--gamma", "1")
    assert "objective focal (gamma=1.0)" in printed and "'loss'" in printed


def test_examples_are_short():
    lengths = {script.name: len(script.read_text().splitlines()) for script in EXAMPLES.glob("*.py")}
    assert len(lengths) >= 8 and max(lengths.values()) <= 70, lengths


def test_every_example_is_tested():
    tested = pathlib.Path(__file__).read_text()
    assert all(f'"{script.name}"' in tested for script in EXAMPLES.glob("*.py"))
