"""The preparation in a pipeline, next to the one on this machine."""

from __future__ import annotations

import json
import pathlib

import pytest

from highnoon.data import DataError, DocumentSource, DomainFolder, Files, StandardLibrary, TokenStore, prepare
from highnoon.data.cleaning import (
    CleanedSource,
    ExactDuplicates,
    Length,
    NearDuplicates,
    PersonalData,
    Step,
)
from highnoon.data.preparation import beam_stages
from highnoon.data.preparation.beam_prepare import beam_prepare
from highnoon.data.records.read_options import ReadOptions
from highnoon.tokenization import ByteTokenizer

pytest.importorskip("apache_beam")

STEPS: list[Step] = [
    Length(8),
    ExactDuplicates(),
    PersonalData(),
    Length(max_characters=100),
    ExactDuplicates(),
]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two domains of three files, with short, long and equal lines, and some that masking makes equal."""
    for domain in ("tales", "letters"):
        (tmp_path / "data" / domain).mkdir(parents=True)
        for file in range(3):
            lines = [f"A fox met {number * file} crows by the river." for number in range(40)]
            lines += [f"Write to fox{file}@example.org", "short", "A long line. " * 9, "EQUAL in every file"]
            (tmp_path / "data" / domain / f"{file}.txt").write_text("\n".join(lines))
    turns = [{"role": "user", "content": "Who met the crows?"}, {"role": "assistant", "content": "A fox."}]
    (tmp_path / "data" / "letters" / "chats.jsonl").write_text(json.dumps({"messages": turns}))
    return tmp_path / "data"


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("steps", [STEPS, []], ids=["cleaned", "as it is"])
def test_folder_and_report_equal_those_of_one_machine(folder, tmp_path, monkeypatch, steps):
    monkeypatch.setattr(beam_stages, "_PIECE_DOCUMENTS", 7)
    source = DomainFolder(folder, split="line")
    cleaned = CleanedSource(source, steps)
    prepare(cleaned if steps else source, ByteTokenizer(), tmp_path / "one", validation_split=0.2)
    store, report = beam_prepare(source, ByteTokenizer(), tmp_path / "many", steps, validation_split=0.2)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert "learned.bin" in contents(tmp_path / "many")
    assert report == cleaned.report()
    assert len(store) == report["kept"]["documents"] == len(TokenStore.open(tmp_path / "one"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "many", "one"]


@pytest.mark.slow
def test_a_source_without_files_is_read_by_one_worker_and_equals_too(tmp_path):
    source = StandardLibrary(("docs",))
    prepare(source, ByteTokenizer(), tmp_path / "one")
    beam_prepare("stdlib:docs", ByteTokenizer(), tmp_path / "many")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@pytest.mark.slow
def test_a_finished_folder_is_returned_as_it_is(folder, tmp_path):
    source = Files(folder / "tales" / "0.txt", split="line")
    first, _ = beam_prepare(source, ByteTokenizer(), tmp_path / "many")
    times = [path.stat().st_mtime_ns for path in (tmp_path / "many").iterdir()]
    again, report = beam_prepare(source, ByteTokenizer(), tmp_path / "many")
    assert again.fingerprint == first.fingerprint and report == {}
    assert times == [path.stat().st_mtime_ns for path in (tmp_path / "many").iterdir()]


@pytest.mark.slow
def test_nothing_left_is_an_error(folder, tmp_path):
    with pytest.raises(DataError, match="no document of .* is left; use a source with text, or less strict"):
        beam_prepare(Files(folder / "tales" / "0.txt"), ByteTokenizer(), tmp_path / "many", [Length(10_000)])


def test_a_step_that_looks_at_all_before_is_refused(make_source, tmp_path):
    source: DocumentSource = make_source(["one", "two"])
    with pytest.raises(DataError, match="`near_duplicates` compares each document with all previous ones"):
        beam_prepare(source, ByteTokenizer(), tmp_path / "many", [NearDuplicates()])


@pytest.mark.slow
def test_what_is_left_out_is_kept_as_on_one_machine(folder, tmp_path):
    (folder / "letters" / "a.jsonl").write_text('not JSON\n{"text": "one"}\n{"text": ""}\n')
    (folder / "tales" / "b.jsonl").write_text('{"text": "two"}\nnot JSON\n')
    (folder / "none").mkdir()
    source = DomainFolder(folder, split="line", options=ReadOptions(skip_bad=True))
    left_out = prepare(source, ByteTokenizer(), tmp_path / "one").manifest["left_out"]
    beam_prepare(source, ByteTokenizer(), tmp_path / "many")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert left_out["left_out"] == 4


def test_ids_cannot_be_checked_by_many_workers(folder, tmp_path):
    source = DomainFolder(folder, options=ReadOptions(check_ids=True))
    with pytest.raises(DataError, match="`check_ids` compares each row of data with all before it"):
        beam_prepare(source, ByteTokenizer(), tmp_path / "many")
