"""Hugging Face datasets, with a stand-in for the library and, where it is installed, the library itself."""

from __future__ import annotations

import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from highnoon.data import DataError, HuggingFaceDataset, TextDataset, open_source
from highnoon.tokenization import ByteTokenizer


class FakeDataset:
    """The part of `datasets.Dataset` that is used."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records
        self.column_names = list(records[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.records)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[Any, FakeDataset]:
    known: dict[Any, FakeDataset] = {}
    module = types.ModuleType("datasets")

    def load_dataset(
        path: str, name: str | None = None, split: str | None = None, **choices: Any
    ) -> FakeDataset:
        if choices:
            return known[path, name, split, *choices.items()]
        if (path, name, split) not in known:
            raise FileNotFoundError(f"Dataset {path} is not there\nand a second line")
        return known[path, name, split]

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return known


def test_records_with_text_are_documents(hub: dict[Any, FakeDataset]) -> None:
    hub["org/set", "part", "test"] = FakeDataset(
        [
            {"text": "one", "id": "x"},
            {"text": "", "id": "y"},
            {"text": None},
            {"text": "two", "id": 7},
        ]
    )
    source = HuggingFaceDataset("org/set:part", split="test")
    assert [(d.text, d.source, d.id) for d in source.documents()] == [
        ("one", "hf:org/set:part", "x"),
        ("two", "hf:org/set:part", "7"),
    ]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"content": "code"}, "code"),
        ({"content": "code", "text": "words"}, "words"),
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "bot", "value": "ok"}]},
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nok<|im_end|>\n",
        ),
        ({"messages": [{"role": "model", "content": "hi"}]}, "<|im_start|>assistant\nhi<|im_end|>\n"),
    ],
)
def test_the_text_is_found_in_its_usual_columns(
    hub: dict[Any, FakeDataset], record: dict[str, Any], text: str
) -> None:
    hub["org/set", None, "train"] = FakeDataset([record])
    assert [d.text for d in HuggingFaceDataset("org/set").documents()] == [text]


def test_the_fingerprint_is_of_the_texts(hub: dict[Any, FakeDataset]) -> None:
    for name, texts in (("a", ["x", "yz"]), ("b", ["x", "yz"]), ("c", ["xy", "z"])):
        hub[name, None, "train"] = FakeDataset([{"text": text} for text in texts])
    first, same, other = (HuggingFaceDataset(name).fingerprint() for name in "abc")
    assert first == same != other


def test_what_cannot_be_used_is_a_one_line_error(hub: dict[Any, FakeDataset]) -> None:
    hub["org/set", None, "train"] = FakeDataset([{"image": 1, "label": 2}])
    with pytest.raises(DataError, match="has the columns image, label, none of them text"):
        HuggingFaceDataset("org/set")
    with pytest.raises(DataError, match="cannot open hf:org/none split 'train': Dataset org/none") as error:
        HuggingFaceDataset("org/none")
    assert "\n" not in str(error.value)
    hub["org/odd", None, "train"] = FakeDataset([{"text": [3]}])
    with pytest.raises(DataError, match="expected a string `text`; received `text` of type list"):
        list(HuggingFaceDataset("org/odd").documents())


def test_from_hf_reads_a_documented_name(hub: dict[Any, FakeDataset], tmp_path: pathlib.Path) -> None:
    hub["monology/pile-uncopyrighted", None, "train"] = FakeDataset([{"text": f"{n} x"} for n in range(50)])
    dataset = TextDataset.from_hf(
        name="pile", split="train", tokenizer=ByteTokenizer(), max_length=16, cache_dir=tmp_path
    )
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


def test_a_revision_is_what_the_hub_is_asked_for(hub: dict[Any, FakeDataset]) -> None:
    hub["org/set", "part", "train", ("revision", "v1/a")] = FakeDataset([{"text": "old"}])
    source = open_source("hf:org/set:part@v1/a")
    assert [d.text for d in source.documents()] == ["old"]
    assert source.name == "hf:org/set:part@v1/a"


def test_a_stream_is_read_again_and_known_by_its_revision(hub: dict[Any, FakeDataset]) -> None:
    for revision in ("v1", "v2"):
        hub["org/set", None, "train", ("revision", revision), ("streaming", True)] = records = FakeDataset(
            [{"text": "one"}]
        )
        records.column_names = None  # type: ignore[assignment]
    source = open_source("hf-stream:org/set@v1")
    first = source.fingerprint()
    records = hub["org/set", None, "train", ("revision", "v1"), ("streaming", True)]
    records.records.append({"text": "two"})
    assert [d.text for d in source.documents()] == ["one", "two"]
    assert source.fingerprint() == first != open_source("hf-stream:org/set@v2").fingerprint()


def test_a_stream_without_a_revision_warns(hub: dict[Any, FakeDataset]) -> None:
    hub["org/set", None, "train", ("streaming", True)] = FakeDataset([{"text": "one"}])
    with pytest.warns(UserWarning, match=r"hf-stream:org/set@<commit>"):
        open_source("hf-stream:org/set")


def test_a_connection_that_breaks_is_an_error_and_no_end(hub: dict[Any, FakeDataset]) -> None:
    class Broken(FakeDataset):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            yield self.records[0]
            raise ConnectionError("reset by peer")

    hub["org/set", None, "train"] = Broken([{"text": "one"}])
    with pytest.raises(DataError, match="cannot read hf:org/set split 'train': reset by peer"):
        list(HuggingFaceDataset("org/set").documents())


def test_records_of_the_hub_go_the_way_of_records_of_files(hub: dict[Any, FakeDataset]) -> None:
    hub["org/set", None, "train"] = FakeDataset([{"title": "A", "body": "b"}, {"title": "C", "body": None}])
    source = open_source("hf:org/set", template="{title}: {body}", skip_bad=True)
    assert [d.text for d in source.documents()] == ["A: b"]
    assert source.bad_records.report()["reasons"] == {  # type: ignore[attr-defined]
        "missing field": {"count": 1, "places": ["hf:org/set record 1"]}
    }


def test_the_fingerprint_knows_what_is_supervised(hub: dict[Any, FakeDataset]) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    hub["a", None, "train"] = FakeDataset([{"messages": turns}])
    hub["b", None, "train"] = FakeDataset(
        [{"text": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"}]
    )
    [one], [other] = (list(HuggingFaceDataset(name).documents()) for name in "ab")
    assert one.text == other.text
    assert HuggingFaceDataset("a").fingerprint() != HuggingFaceDataset("b").fingerprint()
