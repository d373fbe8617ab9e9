"""Hugging Face datasets, with a stand-in for the library and, where it is installed, the library itself."""

from __future__ import annotations

import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from highnoon.data import DataError, HuggingFaceDataset, TextDataset
from highnoon.tokenization import ByteTokenizer


class FakeDataset:
    """The part of `datasets.Dataset` that is used."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.column_names = list(rows[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[Any, FakeDataset]:
    known: dict[Any, FakeDataset] = {}
    module = types.ModuleType("datasets")

    def load_dataset(path: str, name: str | None = None, split: str | None = None) -> FakeDataset:
        if (path, name, split) not in known:
            raise FileNotFoundError(f"Dataset {path} is not there\nand a second line")
        return known[path, name, split]

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return known


def test_rows_with_text_are_documents(hub: dict[Any, FakeDataset]) -> None:
    hub["org/set", "part", "test"] = FakeDataset([
        {"text": "one", "id": "x"}, {"text": "", "id": "y"}, {"text": None}, {"text": "two", "id": 7},
    ])
    source = HuggingFaceDataset("org/set:part", split="test")
    assert [(d.text, d.source, d.id) for d in source.documents()] == [
        ("one", "hf:org/set:part", "x"), ("two", "hf:org/set:part", "7")]


@pytest.mark.parametrize(("row", "text"), [
    ({"content": "code"}, "code"),
    ({"content": "code", "text": "words"}, "words"),
    ({"conversations": [{"from": "me", "value": "hi"}, {"from": "bot", "value": "ok"}]}, "me: hi\n\nbot: ok"),
    ({"messages": [{"role": "user", "content": "hi"}]}, "user: hi"),
])
def test_the_text_is_found_in_its_usual_columns(
    hub: dict[Any, FakeDataset], row: dict[str, Any], text: str
) -> None:
    hub["org/set", None, "train"] = FakeDataset([row])
    assert [d.text for d in HuggingFaceDataset("org/set").documents()] == [text]


def test_the_fingerprint_is_of_the_texts(hub: dict[Any, FakeDataset]) -> None:
    for name, texts in (("a", ["x", "yz"]), ("b", ["x", "yz"]), ("c", ["xy", "z"])):
        hub[name, None, "train"] = FakeDataset([{"text": text} for text in texts])
    first, same, other = (HuggingFaceDataset(name).fingerprint() for name in "abc")
    assert first == same != other


def test_what_cannot_be_used_is_a_one_line_error(hub: dict[Any, FakeDataset]) -> None:
    hub["org/set", None, "train"] = FakeDataset([{"image": 1, "label": 2}])
    with pytest.raises(DataError, match="has no column text, content, .* only image, label"):
        HuggingFaceDataset("org/set")
    with pytest.raises(DataError, match="cannot open hf:org/none split 'train': Dataset org/none") as error:
        HuggingFaceDataset("org/none")
    assert "\n" not in str(error.value)
    hub["org/odd", None, "train"] = FakeDataset([{"text": 3}])
    with pytest.raises(DataError, match="has text of type int"):
        list(HuggingFaceDataset("org/odd").documents())


def test_from_hf_reads_a_documented_name(hub: dict[Any, FakeDataset], tmp_path: pathlib.Path) -> None:
    hub["monology/pile-uncopyrighted", None, "train"] = FakeDataset([{"text": f"{n} x"} for n in range(50)])
    dataset = TextDataset.from_hf(name="pile", split="train", tokenizer=ByteTokenizer(), max_length=16,
                                  cache_dir=tmp_path)
    assert (dataset.name, dataset.max_length) == ("hf:monology/pile-uncopyrighted", 16)
    assert next(iter(dataset))["token_ids"].shape == (8, 16)


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install highnoon\[hf\]"):
        TextDataset.from_hf("pile", tokenizer=ByteTokenizer())


def test_the_library_itself_opens_a_folder(tmp_path: pathlib.Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra hf is not installed")
    train = datasets.Dataset.from_dict({"text": ["one", "two"], "id": [1, 2]})
    train.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": train}).save_to_disk(str(tmp_path / "many"))
    for folder in ("one", "many"):
        source = HuggingFaceDataset(str(tmp_path / folder))
        assert [(d.text, d.id) for d in source.documents()] == [("one", "1"), ("two", "2")]
