"""Finding data by name, in the documented order."""

from __future__ import annotations

import os
import pathlib
import socket
import time
from typing import Any

import pytest

from highnoon.data import (
    DataError,
    Document,
    DomainFolder,
    Files,
    SourceNotFoundError,
    StandardLibrary,
    TextDataset,
    open_source,
    prepare,
)
from highnoon.data.sources import open_source as registry
from highnoon.tokenization import ByteTokenizer


class FakeHub:
    """Stands where `HuggingFaceDataset` does, and knows one name."""

    def __init__(
        self, name: str, split: str = "train", options: Any = None, is_streamed: bool = False
    ) -> None:
        self.name = name
        if name not in ("org/known", "monology/pile-uncopyrighted"):
            raise DataError(f"cannot open hf:{name}")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """No network, no data of this machine, an empty working directory."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    monkeypatch.setattr(registry, "HuggingFaceDataset", FakeHub)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def put(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def only_text(source: Any) -> str:
    [document] = source.documents()
    assert isinstance(document, Document)
    return document.text


def test_the_embedded_corpus_comes_by_name() -> None:
    assert open_source("stdlib").domains == ("docs", "code")  # type: ignore[attr-defined]
    assert open_source("stdlib:code").domains == ("code",)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="received 'test'"):
        open_source("stdlib:test")


def test_sources_and_datasets_are_taken_as_they_are(tmp_path: pathlib.Path) -> None:
    source = Files(put(tmp_path / "a.txt", "a"))
    assert open_source(source) is source
    assert open_source(TextDataset(source)) is source


@pytest.mark.parametrize("file", ["set", "set.txt", "set.jsonl", "set/sub/part.txt"])
def test_a_local_copy_is_a_file_whatever_its_ending_or_a_folder(tmp_path: pathlib.Path, file: str) -> None:
    put(tmp_path / "data" / "domain" / file, '{"text": "found"}')
    source = open_source("domain/set", data_dir=tmp_path / "data", split="file")
    assert isinstance(source, DomainFolder if "part" in file else Files)
    assert only_text(source).strip() in ("found", '{"text": "found"}')


def test_data_dir_comes_before_the_environment_and_that_before_a_path(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(pathlib.Path("set.txt"), "path")
    assert only_text(open_source("set.txt")) == "path"
    put(tmp_path / "env" / "set.txt", "environment")
    monkeypatch.setenv("HIGHNOON_DATA", str(tmp_path / "env"))
    assert only_text(open_source("set.txt")) == "environment"
    put(tmp_path / "given" / "set.txt", "given")
    assert only_text(open_source("set.txt", data_dir=tmp_path / "given")) == "given"
    assert only_text(open_source(tmp_path / "env" / "set.txt", data_dir=tmp_path / "given")) == "environment"
    with pytest.raises(SourceNotFoundError):
        open_source(tmp_path / "env" / "set", data_dir=tmp_path / "given")


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ("pile", "pile_subset"),
        ("the_stack_v2", "the_stack"),
        ("oasst", "open_assistant"),
    ],
)
def test_a_local_copy_may_go_by_another_documented_name(
    tmp_path: pathlib.Path, asked: str, stored: str
) -> None:
    put(tmp_path / f"{stored}.jsonl", '{"text": "local"}')
    assert only_text(open_source(asked, data_dir=tmp_path)) == "local"


def test_documented_names_and_hub_names_ask_the_hub() -> None:
    assert open_source("pile_subset").name == "monology/pile-uncopyrighted"
    assert open_source("org/known").name == "org/known"
    assert open_source("hf:org/known").name == "org/known"


def test_globs_paths_and_folders_open(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "data" / "x" / "a.txt", "one")
    put(tmp_path / "data" / "x" / "b.txt", "two")
    assert [d.text for d in open_source(f"{tmp_path}/data/x/*.txt").documents()] == ["one", "two"]
    assert isinstance(open_source(tmp_path / "data"), DomainFolder)
    file = tmp_path / "data" / "x" / "a.txt"
    assert [d.text for d in open_source(file, split="line").documents()] == ["one"]


def test_a_path_that_begins_with_a_dot_is_no_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "copies" / "a.txt", "copy")
    put(tmp_path / "mine" / "a.txt", "mine")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setenv("HIGHNOON_DATA", str(tmp_path / "copies"))
    assert [document.text for document in open_source("./a.txt").documents()] == ["mine"]
    assert [document.text for document in open_source("a.txt").documents()] == ["copy"]


def test_an_unknown_word_fails_at_once_and_says_what_was_tried(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "shakespeare.txt", "x")
    started = time.monotonic()
    with pytest.raises(SourceNotFoundError) as error:
        open_source("shakespear", data_dir=tmp_path)
    message = str(error.value)
    assert time.monotonic() - started < 1
    for part in (
        os.fspath(tmp_path / "shakespear"),
        ".jsonl",
        "also .gz and .zst",
        "the path shakespear",
        "tfds:name",
        "did you mean `shakespeare`",
    ):
        assert part in message
    assert "\n" not in message
    with pytest.raises(SourceNotFoundError, match="did you mean `stdlib`"):
        open_source("stdlb")


def test_a_missing_path_is_not_taken_for_a_hub_name() -> None:
    with pytest.raises(SourceNotFoundError, match="tried the path data/a.txt; not the hub"):
        open_source("data/a.txt")
    with pytest.raises(SourceNotFoundError, match="not the hub"):
        open_source("./org/name")


def test_a_hub_name_that_cannot_be_reached_says_why() -> None:
    with pytest.raises(SourceNotFoundError, match=r"tried the path org/x; hf:org/x \(cannot open hf:org/x\)"):
        open_source("org/x")


def test_a_data_folder_that_is_none_is_an_error(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="`data_dir` must name a folder; there is none at"):
        open_source("pile", data_dir=tmp_path / "missing")
    with pytest.raises(DataError, match="`data_dir` must be a path; received ''"):
        open_source("stdlib:docs", data_dir="")
    monkeypatch.setenv("HIGHNOON_DATA", str(tmp_path / "missing"))
    with pytest.raises(DataError, match="`HIGHNOON_DATA` must name a folder"):
        open_source("pile")


def test_what_is_no_name_is_an_error() -> None:
    with pytest.raises(DataError, match="received int"):
        open_source(3)
    assert isinstance(open_source("stdlib"), StandardLibrary)


def test_options_of_records_reach_files_and_folders(tmp_path: pathlib.Path) -> None:
    file = put(tmp_path / "data" / "d" / "a.jsonl", '{"body": "one", "n": 1}\n{}\n')
    for name in (tmp_path / "data", file, f"{file.parent}/*.jsonl"):
        source = open_source(name, text_field="body", skip_bad=True)
        assert only_text(source) == "one"
        assert source.bad_records.total == 1  # type: ignore[attr-defined]
        assert only_text(open_source(name, template="{n}: {body}", skip_bad=True)) == "1: one"


def test_options_for_a_source_that_is_open_are_an_error(tmp_path: pathlib.Path) -> None:
    source = Files(put(tmp_path / "a.txt", "a"))
    for given in (source, TextDataset(source)):
        with pytest.raises(DataError, match="is open already and its options cannot change"):
            open_source(given, skip_bad=True)


def test_a_local_copy_may_be_of_any_format(tmp_path: pathlib.Path) -> None:
    put(tmp_path / "set.csv", "text\nfound\n")
    assert only_text(open_source("set", data_dir=tmp_path)) == "found"


def test_a_prepared_folder_has_no_records_to_check_or_to_skip(tmp_path: pathlib.Path) -> None:
    prepare(Files(put(tmp_path / "a.txt", "words"), split="line"), ByteTokenizer(), tmp_path / "out", 1, 0.0)
    assert only_text(open_source(tmp_path / "out", check_ids=True, skip_bad=True)) == "words"
    with pytest.raises(DataError, match="is prepared already, so options of reading text have no effect"):
        open_source(tmp_path / "out", text_field="body")


def test_a_tilde_of_an_unknown_user_is_a_name_that_does_not_exist(tmp_path: pathlib.Path) -> None:
    for name in ("~no-such-user/texts", "~no-such-user/*.txt", "~no-such-user"):
        with pytest.raises(DataError, match="~no-such-user"):
            open_source(name)
