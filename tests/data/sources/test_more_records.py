"""Files with records that are read since numbers and tool calls are, have another fingerprint; others not."""

from __future__ import annotations

import json

import pytest

from highnoon.data import Files, ReadOptions
from highnoon.data.sources import files

TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
CALL = {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": "{}"}]}


def _changes(path, monkeypatch, **options):
    now = Files(path, options=ReadOptions(**options)).fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(files, "holds_more_records", lambda path, options: False)
        return now != Files(path, options=ReadOptions(**options)).fingerprint()


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("record", "skips", "always"),
    [
        ({"text": "words", "score": 5}, False, False),
        ({"text": 'say "text": 5'}, False, False),
        ({"messages": TURNS}, False, False),
        ({"text": 5}, True, False),
        ({"instruction": True, "output": "A"}, True, False),
        ({"messages": [*TURNS, CALL]}, True, False),
        ({"messages": TURNS, "tools": [{"name": "f"}]}, True, True),
    ],
)
def test_the_fingerprint_changes_exactly_where_documents_do(
    tmp_path, monkeypatch, name, record, skips, always
):
    records = [{"text": "first"}, record]
    path = tmp_path / name
    path.write_text(
        json.dumps(records) if name.endswith("json") else "".join(json.dumps(r) + "\n" for r in records)
    )
    assert _changes(path, monkeypatch, skip_bad=True) == skips
    assert _changes(path, monkeypatch) == always
    assert not _changes(path, monkeypatch, template="{text}", skip_bad=True)


def test_a_table_of_texts_keeps_its_fingerprint(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("text,n\n5,1\n")
    assert not _changes(tmp_path / "a.csv", monkeypatch, skip_bad=True)
