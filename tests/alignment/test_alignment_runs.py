"""Runs of alignment: the held-out margin rises, and a killed run ends with the same bits."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import highnoon as hn
from highnoon.alignment import DPO, LabeledAnswers
from highnoon.cli.__main__ import main
from highnoon.config import ConfigError
from highnoon.data import InMemoryDataset
from highnoon.models.arrays import load_arrays
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.snapshot import OPTIMIZER_FILE
from tests.alignment import killed_alignment
from tests.alignment.conftest import LENGTH, make_policy, make_preferences

PROGRAM = pathlib.Path(killed_alignment.__file__)


def make_trainer(policy, objective, data=None):
    trainer = hn.Trainer(policy, batch_size=4, max_seq_length=LENGTH, learning_rate=1e-2, jit_compile=False)
    data = make_preferences(60) if data is None else data
    return trainer.add_curriculum_stage("align", data, steps=12, objective=objective)


def test_dpo_raises_the_held_out_margin_and_logs_it():
    policy, events = make_policy(), []
    trainer = make_trainer(policy, DPO(policy))
    trainer.add_callback(events.append)
    trainer.train(save_checkpoints=False, log_dir=None, verbose=False, eval_interval=6)
    figures = [event["metrics"] for event in events if event["event"] == "evaluation"]
    assert figures[-1]["val/rewards/margin"] > figures[0]["val/rewards/margin"] > 0
    assert figures[-1]["val/rewards/accuracy"] == 1.0
    assert {f"val/{name}" for name in DPO.figures} <= set(figures[-1])
    logged = next(event["metrics"] for event in events if event["event"] == "log")
    assert abs(logged["rewards/margin"]) < 1e-4 and logged["train/loss"] == pytest.approx(np.log(2), abs=1e-5)


def test_streams_and_models_with_another_tokenizer_are_refused():
    source = InMemoryDataset(make_preferences(), is_streamed=True)
    with pytest.raises(ConfigError, match="cannot stream it; read it without `stream`"):
        LabeledAnswers(source)
    from highnoon.tokenization import BytePairTokenizer

    other = make_policy(vocab_size=270)
    other.tokenizer = BytePairTokenizer(270).train_from_texts(["sun moon star"] * 5)
    with pytest.raises(ConfigError, match="`reference` must have the tokenizer of the run"):
        make_trainer(make_policy(), DPO(other)).plan()


def start(folder, most_steps):
    """Runs the program and kills it once it has taken so many steps; returns the steps it took."""
    taken = []
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(PROGRAM), str(folder)]
    errors = folder.parent / "errors.txt"
    with errors.open("a") as stream:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stream, text=True)
        with process:
            for line in process.stdout:
                taken += [int(line.split()[1])] if line.startswith("step ") else []
                if len(taken) == most_steps:
                    process.kill()
    assert process.returncode in (0, -9), errors.read_text()[-4000:]
    return taken


def final_arrays(folder):
    final = checkpoint.find_checkpoint(folder / "checkpoints" / "final")
    return load_arrays(final / "model.safetensors") | load_arrays(final / OPTIMIZER_FILE)


@pytest.mark.slow
def test_a_killed_run_resumes_and_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    killed_alignment.train(tmp_path / "whole")
    first = start(tmp_path / "killed", most_steps=5)
    rest = start(tmp_path / "killed", most_steps=99)
    assert first[0] == 1 < rest[0] <= first[-1] + 1 and rest[-1] == killed_alignment.NUM_STEPS
    whole, killed = final_arrays(tmp_path / "whole"), final_arrays(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert not [name for name in whole if whole[name].tobytes() != killed[name].tobytes()]


@pytest.mark.slow
def test_the_verb_trains_a_policy_and_prints_held_out_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hn.save_model(make_policy(), "start")
    lines = "".join(json.dumps(record) + "\n" for record in make_preferences(40))
    pathlib.Path("pairs.jsonl").write_text(lines)
    words = ["--model", "start", "--data", "pairs.jsonl", "--steps", "4", "--output", "out"]
    small = [f"training.max_seq_length={LENGTH}", "training.batch_size=4", "training.learning_rate=1e-2"]
    code = main(["align", "--objective", "dpo", *words, *small, "objective.beta=0.5"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "On held-out pairs" in printed.out and "rewards/accuracy" in printed.out
    recipe = json.loads(json.dumps(hn.Recipe.load("out/recipe.yaml").stages[0]["objective"]))
    assert recipe["beta"] == 0.5 and recipe["name"] == "dpo" and recipe["reference"].endswith("start")
    assert main(["align", "--objective", "dpo", "--model", "start"]) == 1
    assert "no records to learn from" in capsys.readouterr().err
