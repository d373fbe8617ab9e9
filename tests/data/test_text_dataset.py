"""Text and a tokenizer as one object."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from highnoon.data import DataError, TextDataset
from highnoon.tokenization import ByteTokenizer


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} line {n}\n" for n in range(60)))
    return tmp_path


def test_it_has_the_rows_of_an_epoch(folder: pathlib.Path) -> None:
    dataset = TextDataset.from_files(
        paths=[f"{folder}/*.txt"],
        tokenizer=ByteTokenizer(),
        max_length=32,
        split="line",
        cache_dir=folder / "cache",
    )
    batches = list(dataset)
    assert sum(len(batch["token_ids"]) for batch in batches) == len(dataset) > 30
    assert all(batch["token_ids"].shape[1] == 32 for batch in batches)
    supervised = sum(int(batch["loss_weights"].sum()) for batch in batches)
    assert supervised == (dataset.rows.lengths - 1).sum()
    assert dataset.name == f"{folder}/*.txt"


def test_epochs_differ_and_batches_have_the_size_asked_for(folder: pathlib.Path) -> None:
    dataset = TextDataset.from_files(folder / "a.txt", ByteTokenizer(), 16, "line", folder / "cache")
    first, again, second = (next(dataset.batches(5, epoch))["token_ids"] for epoch in (0, 0, 1))
    assert first.shape == (5, 16)
    assert np.array_equal(first, again) and not np.array_equal(first, second)


def test_a_folder_of_domains_is_taken(folder: pathlib.Path) -> None:
    (folder / "domain").mkdir()
    (folder / "a.txt").rename(folder / "domain" / "a.txt")
    (folder / "b.txt").unlink()
    assert {d.domain for d in TextDataset.from_files(folder).source.documents()} == {"domain"}


def test_without_a_tokenizer_it_has_a_source_but_no_rows(folder: pathlib.Path) -> None:
    dataset = TextDataset.from_files([f"{folder}/a.txt"])
    assert dataset.max_length == 2048 and dataset.tokenizer is None
    assert len(list(dataset.source.documents())) == 1
    with pytest.raises(DataError, match="pass `tokenizer=`"):
        len(dataset)


def test_bad_arguments_are_one_line_errors(folder: pathlib.Path) -> None:
    with pytest.raises(DataError, match="no file matches"):
        TextDataset.from_files(["none/*.txt"], ByteTokenizer())
    with pytest.raises(DataError, match="`batch_size` must be at least 1"):
        TextDataset.from_files([f"{folder}/a.txt"], ByteTokenizer()).batches(0)
