"""A small corpus and a small model for tests of training."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.tokenization import ByteTokenizer
from highnoon.training.learner import Learner
from highnoon.training.objective import Objective
from highnoon.training.steps.evaluation import SplitSums

WORDS = "noon sun moon star light shade river stone field wind rain cloud bird fish tree leaf".split()


def write_corpus(folder: pathlib.Path, seed: int, documents: int = 40) -> pathlib.Path:
    """Writes one text file of documents of unequal length, one a line."""
    rng = np.random.default_rng(seed)
    lines = [
        " ".join(rng.choice(WORDS, size=rng.integers(3, 30))) + f" {index}." for index in range(documents)
    ]
    path = folder / f"corpus-{seed}.jsonl"
    path.write_text("".join(f'{{"text": "{line}"}}\n' for line in lines))
    return path


@pytest.fixture
def corpus(tmp_path: pathlib.Path) -> str:
    return str(write_corpus(tmp_path, seed=0))


@pytest.fixture
def other_corpus(tmp_path: pathlib.Path) -> str:
    return str(write_corpus(tmp_path, seed=1, documents=25))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_model() -> Callable[..., keras.Model]:
    def make(seed: int = 0, **overrides):
        keras.utils.set_random_seed(seed)
        shape = {
            "vocab_size": 263,
            "embedding_dim": 32,
            "num_reasoning_blocks": 1,
            "max_seq_length": 32,
            "num_moe_experts": 2,
            "num_heads": 2,
            "expert_dim": 32,
        }
        model = hn.create_model("highnoon-nano", **{**shape, **overrides})
        model.tokenizer = ByteTokenizer()
        return model

    return make


class ScriptedLearner(Learner):
    """A learner without compiled functions; everything else of a run is real.

    A good step adds a number that depends on its batch and learning rate to the first weight. `faults`
    says which steps are skipped (`"skip"`) or leave an infinite weight (`"inf"`). Evaluations give the next
    of `losses`, or a loss that falls with the weights.
    """

    faults: dict[int, str]
    losses: dict[int, float]
    sizes: list[int]
    count: int

    def start_stage(self, micro_batch_size: int, trainable: Any = None) -> None:
        super().start_stage(micro_batch_size, trainable)
        self.sizes.append(micro_batch_size)

    def step(
        self, batch: dict[str, Any], objective: Objective, loss_weight: float = 1.0, measures: bool = False
    ) -> dict[str, Any]:
        optimizer, state = self.optimizer, self.state
        fault = self.faults.pop(int(optimizer.iterations) + 1, None)
        rate = float(optimizer.learning_rate)
        optimizer.iterations.assign_add(1)
        weight = self.model.trainable_variables[0]
        loss = 1.0 + float(np.sum(batch["token_ids"]) % 97) / 97
        if fault == "skip":
            state.assign("skipped", state["skipped"] + 1)
            state.assign("skipped_in_a_row", state["skipped_in_a_row"] + 1)
        else:
            state.assign("skipped_in_a_row", 0)
            state.assign("loss_total", state["loss_total"] + 10.0 * loss)
            state.assign("token_total", state["token_total"] + 10.0)
            weight.assign_add(np.full(weight.shape, loss * (0.001 + rate), "float32"))
            if fault == "inf":
                weight.assign(np.full(weight.shape, np.inf, "float32"))
            for average in optimizer.averages()[:1]:
                average.assign(0.5 * average + 0.5 * weight)
        return {
            "loss": np.nan if fault == "skip" else loss,
            "grad_norm": 1.0,
            "learning_rate": rate,
            "num_tokens": 10.0,
            "num_stops": 0.0,
            "is_skipped": fault == "skip",
            "skipped_in_a_row": state["skipped_in_a_row"],
        }

    def evaluate(self, batches: Any, objective: Objective) -> SplitSums:
        fallen = float(np.mean(self.model.trainable_variables[0]))
        loss = self.losses.get(type(self).count, 9.0 - fallen)
        type(self).count += 1
        return SplitSums(loss * 10.0, 10.0)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[ScriptedLearner]]:
    """Makes all runs follow a script: all is real but the compiled functions.

    Returns `script({step: fault}, {evaluation: loss})`, which writes it again and returns the learner class.
    A fault happens once. Evaluations count from 0 since then; a loss that is not written falls with the
    weights.
    """

    class Scripted(ScriptedLearner):
        faults: dict[int, str] = {}
        losses: dict[int, float] = {}
        sizes: list[int] = []
        count = 0

    def write(
        new_faults: dict[int, str] | None = None, new_losses: dict[int, float] | None = None
    ) -> type[ScriptedLearner]:
        Scripted.count = 0
        Scripted.faults, Scripted.losses = dict(new_faults or {}), dict(new_losses or {})
        return Scripted

    monkeypatch.setattr(hn.Trainer, "learner_class", Scripted)
    return write
