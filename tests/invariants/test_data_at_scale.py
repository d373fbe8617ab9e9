"""What the data promises, counted over real text."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest

from highnoon.data import DomainFolder, PackedRows, TokenStore, tokenize
from highnoon.tokenization import ByteTokenizer

DATA = os.environ.get("HIGHNOON_DATA", "")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))


def times_supervised(store: TokenStore, rows: PackedRows, epoch: int) -> np.ndarray:
    """How often each token of a store is a supervised label in an epoch, each label checked on the way."""
    view = rows.view(epoch)
    counts = np.zeros(len(store.all_tokens), np.int64)
    for start in range(0, view.num_rows, 512):
        batch = view.read(start, 512)
        for pieces in view._pieces(np.arange(start, start + len(batch["labels"]))):
            which = np.repeat(np.arange(len(pieces.row)), pieces.length)
            begins = np.cumsum(pieces.length) - pieces.length
            within = np.arange(len(which)) - begins[which]
            slot = pieces.row[which], pieces.column[which] + within
            label = rows._documents._starts[pieces.document][which] + pieces.begin[which] + within + 1
            is_supervised = batch["loss_weights"][slot] > 0
            assert np.array_equal(
                batch["labels"][slot][is_supervised], store.all_tokens[label[is_supervised]]
            )
            np.add.at(counts, label[is_supervised], 1)
    return counts


@pytest.mark.skipif(
    not pathlib.Path(DATA, "domains").is_dir(), reason="HIGHNOON_DATA names no folder with domains/ in it"
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_token_of_the_domains_is_supervised_once_an_epoch(split: str, tmp_path: pathlib.Path) -> None:
    store = tokenize(DomainFolder(pathlib.Path(DATA, "domains")), ByteTokenizer(), tmp_path)
    rows = PackedRows([store], row_length=256, split=split)
    expected = np.zeros(len(store.all_tokens), np.int64)
    for document in np.flatnonzero(store.is_validation == (split == "validation")):
        expected[store.offsets[document] + 1 : store.offsets[document + 1]] = 1
    for epoch in (0, 1):
        np.testing.assert_array_equal(times_supervised(store, rows, epoch), expected)
    assert rows.report()["efficiency"] >= 0.97


def test_new_files_move_no_document_to_the_other_side(tmp_path: pathlib.Path) -> None:
    texts = [f"Tale {number}: a fox met {number % 7} crows." for number in range(1100)]
    old, new = texts[:1000], texts[1000:]
    sides: list[dict[str, bool]] = []
    for name, held in (("before", old), ("after", [*new, *old])):
        for number, text in enumerate(held):
            domain = tmp_path / name / ("a" if number % 2 else "b")
            domain.mkdir(parents=True, exist_ok=True)
            with (domain / "tales.txt").open("a") as stream:
                stream.write(text + "\n")
        store = tokenize(DomainFolder(tmp_path / name, split="line"), ByteTokenizer(), tmp_path / "cache")
        sides.append({store.text(n): bool(store.is_validation[n]) for n in range(len(store))})
        for number, domain_name in enumerate(store.domain_names):
            held_out = store.is_validation[store.domains == number].mean()
            assert 0.06 < held_out < 0.15, f"{held_out:.0%} of {domain_name} is held out"
    before, after = sides
    assert len(after) == 1.1 * len(before)
    assert all(after[text] == side for text, side in before.items())
