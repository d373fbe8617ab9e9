from __future__ import annotations

import dataclasses
import json

import pytest

from highnoon.callbacks import LossCurve
from highnoon.callbacks.metrics_file import read_metrics
from highnoon.cli import demo
from highnoon.config import ModelConfig

SMALL = demo.DemoSettings(
    model=ModelConfig(
        vocab_size=300, embedding_dim=32, num_reasoning_blocks=1, max_seq_length=256, num_moe_experts=2
    ),
    stages=(("first", ("texts",), 0.3), ("second", ("texts",), 0.3), ("third", ("texts",), 0.4)),
    calibration_steps=4,
    prompt_tokens=4,
)


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A dataset of the name `texts`: the standard library takes longer to read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    lines = [f"House {number} stands in the sun, {number % 7} trees next to it." for number in range(300)]
    (tmp_path / "data" / "texts.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines))


def test_fractions_of_the_stages_add_up_to_the_whole_run():
    assert sum(fraction for _, _, fraction in demo.DemoSettings().stages) == pytest.approx(1.0)
    assert len(demo.DemoSettings().stages) == 3


def test_the_model_is_a_mixture_of_experts():
    model = demo.DemoSettings().model
    assert "moe" in model.block_pattern and model.num_experts_per_tok < model.num_moe_experts


@pytest.mark.slow
def test_a_demo_leaves_all_that_it_promises(texts, tmp_path, capsys):
    figures = demo.run_demo(SMALL, tmp_path / "out", minutes=0.02, seed=1)
    printed = capsys.readouterr().out
    for expected in (
        "parameters",
        "tokens a second",
        "first",
        "third",
        f"{figures['bits_per_byte']:.3f}",
        f"gzip -9: {figures['gzip_bits_per_byte']:.3f}",
        "continuing 'This module provides '",
        "highnoon generate --model",
    ):
        assert expected in printed
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    (metrics,) = (tmp_path / "out" / "logs").rglob("metrics.jsonl")
    assert {line["stage"] for line in read_metrics(metrics)} == {"first", "second", "third"}
    assert list((tmp_path / "out" / "logs").rglob("events.out.tfevents*"))
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    assert figures["num_bytes"] > 0


def test_without_matplotlib_the_demo_says_how_to_get_the_picture(monkeypatch, tmp_path, capsys):
    def refuse(self, path):
        raise ImportError("a loss curve needs matplotlib: pip install 'highnoon[plots]'")

    monkeypatch.setattr(LossCurve, "__init__", refuse)
    assert demo._loss_curve(tmp_path / "loss.png") == []
    assert "highnoon[plots]" in capsys.readouterr().out


@pytest.mark.slow
def test_more_minutes_mean_more_steps(texts):
    faster = dataclasses.replace(SMALL, calibration_steps=2)
    _, few = demo.calibrate(faster, minutes=0.05, seed=1)
    _, many = demo.calibrate(faster, minutes=5.0, seed=1)
    assert many > 10 * few
