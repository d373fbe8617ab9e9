"""One flipped bit in any file that the package writes is named, or changes no value that is used."""

from __future__ import annotations

import os
import pathlib
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.data import Files, PackedRows, TokenStore, prepare, tokenize, train_tokenizer
from highnoon.models.arrays import load_arrays
from highnoon.tokenization import ByteTokenizer, load_tokenizer
from highnoon.training.checkpoints import checkpoint

from .conftest import write_corpus

NUM_FLIPS = int(os.environ.get("HIGHNOON_TEST_FLIPS", "40"))
SHAPE = {
    "vocab_size": 300,
    "embedding_dim": 8,
    "num_heads": 1,
    "num_reasoning_blocks": 1,
    "max_seq_length": 16,
    "block_pattern": "attention+feed_forward",
    "expert_dim": 8,
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> dict[str, tuple[pathlib.Path, Callable[[], dict[str, Any]]]]:
    """For each kind of folder, where it is and what returns the values that are used of it."""
    root = tmp_path_factory.mktemp("flips")
    source = Files(write_corpus(root, seed=0, documents=30))
    bpe = train_tokenizer(source, 290)
    keras.utils.set_random_seed(0)
    model = hn.create_model("highnoon-nano", **{**SHAPE, "block_pattern": "transformer"})
    model.tokenizer = bpe
    trainer = hn.Trainer(model, batch_size=2, jit_compile=False, cache_dir=root / "cache")
    trainer.add_curriculum_stage("one", str(source.paths[0]), steps=2)
    trainer.train(
        checkpoint_dir=root / "checkpoints",
        checkpoint_interval=1,
        log_dir=None,
        verbose=False,
    )
    trainer.save(root / "trainer")
    hn.save_model(model, root / "model")
    hn.export_model(model, root / "export")
    prepare(source, bpe, root / "prepared", num_workers=1)
    tokenize(source, ByteTokenizer(), root / "tokens", num_workers=1)

    def checkpoint_values(path: pathlib.Path) -> dict[str, Any]:
        folder = checkpoint.find_checkpoint(path)
        arrays = load_arrays(folder / "model.safetensors") | load_arrays(folder / "optimizer.safetensors")
        return {
            "name": folder.name,
            "state": checkpoint.read_state(folder),
            **arrays,
            "tokenizer": load_tokenizer(folder).to_json(),
            "config": (folder / "config.json").read_bytes(),
        }

    def model_values(path: pathlib.Path) -> dict[str, Any]:
        loaded = hn.load_model(path)
        return {
            "config": loaded.config,
            "training": loaded.training_config,
            "tokenizer": loaded.tokenizer.to_json(),
            **dict(enumerate(loaded.get_weights())),
        }

    def store_values(store: TokenStore) -> dict[str, Any]:
        rows = PackedRows([store], row_length=8)
        return {
            **rows.view(0).read(0, 500),
            "texts": [store.text(number) for number in range(len(store))],
            "domains": [store.domain(number) for number in range(len(store))],
            "key": store.fingerprint,
        }

    return {
        "model": (root / "model", lambda: model_values(root / "model")),
        "export": (root / "export", lambda: model_values(root / "export")),
        "trainer": (root / "trainer", lambda: checkpoint_values(root / "trainer")),
        "checkpoints": (root / "checkpoints", lambda: checkpoint_values(root / "checkpoints" / "latest")),
        "prepared": (root / "prepared", lambda: store_values(TokenStore.open(root / "prepared"))),
        "tokens": (root / "tokens", lambda: store_values(tokenize(source, ByteTokenizer(), root / "tokens"))),
    }


def are_same(one: dict[Any, Any], other: dict[Any, Any]) -> bool:
    return one.keys() == other.keys() and all(
        value.tobytes() == other[name].tobytes() if isinstance(value, np.ndarray) else value == other[name]
        for name, value in one.items()
    )


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The newest checkpoint alone is loaded, and of a directory of them the files of roles."""
    unused = {*checkpoint.step_folders(folder)[:-1], folder / "best", folder / "final"}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if not {path, *path.parents} & unused]


@pytest.mark.parametrize("kind", ["model", "export", "trainer", "checkpoints", "prepared", "tokens"])
def test_one_flipped_bit_is_named_or_changes_no_value(kinds, kind):
    folder, load = kinds[kind]
    expected, kept = load(), folder.with_name(f"{folder.name}.kept")
    shutil.copytree(folder, kept)
    rng, named = np.random.default_rng(len(kind)), 0
    files = files_of(folder)
    for flip in range(-(-NUM_FLIPS // 6)):
        file = files[(flip + int(rng.integers(len(files)))) % len(files)]
        content = bytearray(file.read_bytes())
        bit = int(rng.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                values = load()
            except ValueError as error:
                assert "\n" not in str(error) and str(folder) in str(error), (file, bit, error)
                named += 1
            else:
                words = [str(warning.message) for warning in caught if str(folder) in str(warning.message)]
                assert words or are_same(values, expected), (file, bit)
                named += bool(words)
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    assert named
