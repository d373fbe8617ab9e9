"""A small corpus and a small model for tests of training."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.tokenization import ByteTokenizer

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
