"""A small model, stores of known documents, and a memory of them."""

from __future__ import annotations

import hashlib
import types

import keras
import pytest

import highnoon as hn
from highnoon.data import Document, DocumentSource, tokenize
from highnoon.experts.vector_memory import VectorMemory
from highnoon.tokenization import ByteTokenizer

LENGTH = 32
TEXTS = [
    "the sun rose over the river and the river shone",
    "the moon rose over the field and the field slept",
    "stones in the river, stars over the field",
    "a bird in the tree sang to the sun and the moon",
    "rain fell, the river rose",
    "the tree stood alone in the wind",
    "wind over the field, rain over the river",
    "the bird slept in the tree while the stars shone",
]

HELD_OUT = (TEXTS[3], TEXTS[7])


class Texts(DocumentSource):
    """Documents given by their texts; two texts are held out."""

    def __init__(self, texts, name="texts"):
        self.texts, self.name = list(texts), name

    def documents(self):
        for number, text in enumerate(self.texts):
            yield Document(text, self.name, str(number), split_hash=0 if text in HELD_OUT else 2**63)

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(repr(self.texts).encode())


def make_store(folder, texts=TEXTS, name="texts"):
    return tokenize(Texts(texts, name), ByteTokenizer(), folder / "cache", validation_split=0.25)


def make_model(seed=0, **fields):
    keras.utils.set_random_seed(seed)
    shape = {"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "num_heads": 2}
    options = {"block_pattern": "attention+mlp", "ffn_dim": 16, "max_seq_length": 64, **fields}
    model = hn.create_model("highnoon-nano", **{**shape, **options})
    model.tokenizer = ByteTokenizer()
    return model


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """`model`, `store`, the `folder` of the memory, and `memory`, which no test changes."""
    folder = tmp_path_factory.mktemp("memory")
    model, store = make_model(), make_store(folder)
    memory = VectorMemory.build(model, store, folder / "memory", row_length=LENGTH)
    return types.SimpleNamespace(model=model, store=store, folder=folder / "memory", memory=memory)
