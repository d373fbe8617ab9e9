"""Two tiny experts and their router, trained once on two domains."""

from __future__ import annotations

import pathlib
import types

import numpy as np
import pytest

import highnoon as hn
from highnoon.experts.runs import pretrain_expert, train_router
from highnoon.tokenization import ByteTokenizer

WORDS = "noon sun moon star light shade river stone".split()
LENGTH, EPOCHS = 16, 6
EXPERTS = ("transformer", "state_space")
STAGE = {"datasets": ["data"], "balance": "equal"}
QUIET = {"verbose": False, "jit_compile": False}
ROUTER = {"embedding_dim": 8, "num_heads": 1, "ffn_dim": 8}


def write_data(folder: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    for domain in ("days", "nights"):
        (folder / "data" / domain).mkdir(parents=True)
        lines = [f'{{"text": "{" ".join(rng.choice(WORDS, size=5))}"}}\n' for _ in range(16)]
        (folder / "data" / domain / "texts.jsonl").write_text("".join(lines))


def shape(**fields) -> hn.ModelConfig:
    small = {"embedding_dim": 8, "num_heads": 1, "num_reasoning_blocks": 1, "ffn_dim": 8, "state_dim": 4}
    return hn.ModelConfig(**{**small, "max_seq_length": LENGTH, **fields})


def training(**fields) -> hn.TrainingConfig:
    given = {"epochs": EPOCHS, "batch_size": 8, "max_seq_length": LENGTH, "learning_rate": 1e-2}
    return hn.TrainingConfig(**{**given, "validation_split": 0.2, "early_stopping_patience": None, **fields})


def pretrain(expert: str = "transformer", **options):
    fields = options.pop("training", {})
    model = options.pop("model", shape())
    return pretrain_expert(expert, model, training(**fields), STAGE, ByteTokenizer(), **{**QUIET, **options})


def route(**options):
    fields = options.pop("training", {})
    given = {"experts": EXPERTS, **QUIET}
    return train_router(ROUTER, training(**fields), STAGE, **{**given, **options})


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with `data/` and `checkpoints/`, which no test changes; and the `steps` of an epoch."""
    folder = tmp_path_factory.mktemp("experts")
    write_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HIGHNOON_CACHE", str(folder / "cache"))
        summary = pretrain()
        pretrain("state_space", training={"epochs": 1})
        route()
    return types.SimpleNamespace(folder=folder, steps=summary["total_steps"] // EPOCHS)
