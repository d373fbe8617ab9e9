"""A check reads everything and passes on every problem with its place in the data."""

from __future__ import annotations

import pytest

from highnoon.data import DataError, open_source
from highnoon.data.sources.data_check import check_data


def _check(path, **options):
    problems = []
    return check_data(open_source(str(path), skip_bad=True, **options), problems.append), problems


def test_all_problems_are_found_at_once(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{bad\n{"text": "one"}\n{"x": 1}\n{"text": ""}\n')
    (tmp_path / "b.txt").write_bytes("Le café était fermé à Noël.".encode("latin-1"))
    (tmp_path / "c.csv").write_text("text\nlonger text\n" * 40 + '"open\n')
    (tmp_path / "d.txt").write_text("")
    (tmp_path / "e.pdf").write_bytes(b"%PDF-1.4")
    found, problems = _check(tmp_path)
    places = [
        (problem.file.rsplit("/", 1)[1], problem.line, problem.kind) for problem in problems if problem.is_bad
    ]
    assert places == [
        ("a.jsonl", 2, "not JSON"),
        ("a.jsonl", 4, "no known field"),
        ("b.txt", 1, "rest of a file that is not UTF-8"),
        ("c.csv", 81, "bad quotes"),
        ("d.txt", None, "empty file"),
    ]
    assert found.num_bad == 5 and found.counts["empty document"] == found.counts["not read: *.pdf"] == 1
    assert (
        found.documents == 2 + 79 and found.duplicates == 1 + 79 - 2 and found.longest == len("longer text")
    )
    assert "cp1252" in found.encodings[str(tmp_path / "b.txt")]
    assert all("--skip-bad" not in problem.message for problem in problems)


def test_more_problems_than_reports_keep_are_all_passed_on(tmp_path):
    (tmp_path / "a.jsonl").write_text("{\n" * 500 + '{"text": "x"}\n')
    found, problems = _check(tmp_path / "a.jsonl")
    assert len(problems) == found.num_bad == 500 and problems[-1].line == 500


def test_the_source_itself_counts_as_before(tmp_path):
    (tmp_path / "a.jsonl").write_text('{\n{"text": "x"}\n')
    source = open_source(str(tmp_path / "a.jsonl"), skip_bad=True)
    check_data(source, lambda problem: None)
    list(source.documents())
    assert source.bad_records.total == 1


def test_prepared_tokens_are_refused():
    with pytest.raises(DataError, match="is no text or records of yours"):
        check_data(open_source("stdlib:docs"), lambda problem: None)
