"""The figures at the end of a run are those of the model on all held-out bytes, next to gzip on the same."""

from __future__ import annotations

import gzip
import json
import math

import pytest

import highnoon as hn
from highnoon.evaluation import evaluate_model, held_out_figures


@pytest.fixture
def texts(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"Noon {number}: the sun stands high.\n" * 6)
    return str(tmp_path / "*.txt")


def make_trainer(texts: str, **options) -> hn.Trainer:
    shape = {"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}
    model = hn.create_model("highnoon-nano", num_heads=2, expert_dim=8, **shape)
    trainer = hn.Trainer(model, tokenizer=hn.tokenization.ByteTokenizer(), batch_size=4, **options)
    for name in ("one", "two"):  # the same documents are counted once
        trainer.add_curriculum_stage(name, texts, steps=2)
    return trainer


def test_the_figures_are_of_all_held_out_documents(texts):
    trainer = make_trainer(texts, validation_split=0.3)
    figures = held_out_figures(trainer)
    rows = trainer.stage_data()[0].validation_rows
    result = evaluate_model(trainer.model, rows)
    assert figures["loss"] == pytest.approx(result.loss, rel=1e-5)
    assert figures["bits_per_byte"] == pytest.approx(result.bits_per_byte, rel=1e-5)
    assert (figures["num_tokens"], figures["num_bytes"]) == (result.num_tokens, result.num_bytes)
    raw = "".join(rows.texts()).encode()
    assert len(raw) == figures["num_bytes"]
    assert math.isclose(figures["gzip_bits_per_byte"], 8 * len(gzip.compress(raw, 9)) / len(raw))


def test_nothing_is_measured_where_nothing_is_held_out_or_too_much(texts):
    assert held_out_figures(make_trainer(texts, validation_split=0.0)) is None
    trainer = make_trainer(texts, validation_split=0.3)
    assert held_out_figures(trainer, most_bytes=10) is None


@pytest.fixture
def chats(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    turns = [
        [{"role": "user", "content": f"What of {n}?"}, {"role": "assistant", "content": f"{n} it is."}]
        for n in range(30)
    ]
    lines = "".join(json.dumps({"messages": messages}) + "\n" for messages in turns)
    (tmp_path / "chats.jsonl").write_text(lines)
    return str(tmp_path / "chats.jsonl")


def test_bits_per_byte_are_not_given_where_the_answers_alone_are_supervised(chats):
    trainer = make_trainer(chats, validation_split=0.3)
    figures = held_out_figures(trainer)
    rows = trainer.stage_data()[0].validation_rows
    result = evaluate_model(trainer.model, rows)
    assert figures["bits_per_byte"] is figures["gzip_bits_per_byte"] is result.bits_per_byte is None
    assert 0 < figures["num_tokens"] == result.num_tokens < rows.num_tokens
    assert "bits_per_byte" not in trainer.evaluate()


@pytest.mark.slow
def test_a_run_over_conversations_tells_its_loss_and_no_bits_per_byte(chats, tmp_path):
    trainer = make_trainer(chats, validation_split=0.3)
    summary = trainer.train(save_checkpoints=False, log_dir=tmp_path / "logs", verbose=False)
    assert summary["best_val_loss"] > 0 and summary["best_bits_per_byte"] is None
