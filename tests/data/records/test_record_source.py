"""From records to documents and pairs, and what is left out."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from highnoon.data import DataError, DomainFolder, Files
from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.preference_pair import PreferencePair
from highnoon.data.records.read_options import ReadOptions

PAIR = {"prompt": "Q", "chosen": "A", "rejected": "B", "source": "s", "id": 3}


def write(folder: pathlib.Path, *records: Any, name: str = "a.jsonl") -> pathlib.Path:
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder / name


def test_a_pair_knows_where_it_comes_from(tmp_path: pathlib.Path) -> None:
    head = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    assert list(Files(write(tmp_path, PAIR), domain="d").preference_pairs()) == [
        PreferencePair(head, "A<|im_end|>\n", "B<|im_end|>\n", "s", "3", "d")
    ]


def test_a_pair_as_a_document_is_its_better_answer(tmp_path: pathlib.Path) -> None:
    source = Files(write(tmp_path, PAIR))
    [pair], [document] = source.preference_pairs(), source.documents()
    assert pair.document() == document
    assert document.text.endswith("A<|im_end|>\n")


def test_records_that_are_no_pairs_are_named_or_counted(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path, PAIR, {"text": "x"})
    with pytest.raises(DataError, match=r"a\.jsonl:2: "):
        list(Files(file).preference_pairs())
    source = Files([file, write(tmp_path, name="b.txt")], options=ReadOptions(skip_bad=True))
    (tmp_path / "b.txt").write_text("words")
    assert len(list(source.preference_pairs())) == 1
    assert set(source.bad_records.report()["reasons"]) == {"missing field", "no preference"}


def test_empty_documents_are_counted_without_being_errors(tmp_path: pathlib.Path) -> None:
    source = Files(write(tmp_path, {"text": " "}, {"text": "x"}, {"text": None}))
    assert [document.text for document in source.documents()] == ["x"]
    assert source.bad_records.report()["reasons"] == {
        "empty document": {"count": 2, "places": [f"{tmp_path}/a.jsonl:1", f"{tmp_path}/a.jsonl:3"]}
    }


def test_a_reading_counts_from_nothing(tmp_path: pathlib.Path) -> None:
    source = Files(write(tmp_path, {"text": "x"}, {"text": [3]}), options=ReadOptions(skip_bad=True))
    for _ in range(2):
        list(source.documents())
        assert source.bad_records.total == 1


def test_doubled_ids_are_bad_records_where_asked(tmp_path: pathlib.Path) -> None:
    records = [
        {"text": "a", "id": 1},
        {"text": "b"},
        {"text": "c", "id": 2},
        {"text": "d", "id": "1"},
        {"text": "e", "id": 1, "source": "other"},
    ]
    path = write(tmp_path, *records)
    with pytest.raises(BadRecordError, match=r"a\.jsonl:4: another record of .* has the id '1' already"):
        list(Files(path, options=ReadOptions(check_ids=True)).documents())
    source = Files(path, options=ReadOptions(check_ids=True, skip_bad=True))
    assert [document.text for document in source.documents()] == ["a", "b", "c", "e"]
    assert source.bad_records.report()["reasons"]["duplicate id"]["places"] == [f"{path}:4"]
    assert len(list(Files(path).documents())) == 5


def test_files_of_one_name_in_two_folders_are_numbered_apart(tmp_path: pathlib.Path) -> None:
    for domain in ("a", "b"):
        (tmp_path / domain).mkdir()
        write(tmp_path / domain, *({"text": f"{domain}{number}", "id": number} for number in range(3)))
    source = DomainFolder(tmp_path, options=ReadOptions(check_ids=True))
    assert len(list(source.documents())) == 6


def test_ids_that_are_null_or_empty_are_none(tmp_path: pathlib.Path) -> None:
    records = [
        {"text": "a", "id": None},
        {"text": "b", "id": None},
        {"text": "c", "id": ""},
        {"text": "d", "id": "", "source": None},
    ]
    documents = list(Files(write(tmp_path, *records), options=ReadOptions(check_ids=True)).documents())
    assert [(document.source, document.id) for document in documents] == [
        ("a.jsonl", str(number)) for number in range(1, 5)
    ]
