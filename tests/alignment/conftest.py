"""A tiny policy, records of preferences, and batches of pairs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.alignment import PairRows, PreferenceDocuments
from highnoon.data import InMemoryDataset, tokenize
from highnoon.tokenization import ByteTokenizer

LENGTH = 192


def make_policy(seed=0, **fields):
    keras.utils.set_random_seed(seed)
    shape = {"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "num_heads": 2}
    options = {"block_pattern": "attention+mlp", "ffn_dim": 16, "max_seq_length": LENGTH, **fields}
    model = hn.LanguageModel(**{**shape, **options})
    model.tokenizer = ByteTokenizer()
    return model


def make_preferences(count=24):
    return [
        {"prompt": f"{n} + 1 =", "chosen": f"{n + 1}", "rejected": "no idea" * (1 + n % 3)}
        for n in range(count)
    ]


def make_labeled(count=24):
    return [
        {"prompt": f"{n} + 1 =", "completion": f"{n + 1 + n % 2}", "label": n % 2 == 0} for n in range(count)
    ]


def make_store(folder, records=None, pairs_class=PreferenceDocuments, split=0.0, **options):
    source = pairs_class(InMemoryDataset(make_preferences() if records is None else records), **options)
    return tokenize(source, ByteTokenizer(), folder / "cache", validation_split=split)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("preferences"))


@pytest.fixture(scope="module")
def batch(store):
    """Eight rows of pairs with log-probabilities of a reference drawn at random."""
    view = PairRows(store, row_length=LENGTH).view(0)
    batch = view.read(0, 8)
    drawn = np.random.default_rng(0).uniform(-6, -4, batch["token_ids"].shape)
    return {**batch, "reference_log_probs": (drawn * batch["loss_weights"]).astype("float32")}
