"""Fingerprints of files whose documents changed, and of those whose documents did not."""

from __future__ import annotations

import gzip
import json
import pathlib
from typing import Any

import pytest

from highnoon.data import Files
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.changed_reading import is_read_otherwise

TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]

# Fingerprints that the version before gave.
OLD_JSONL = "e87f8741078148e5fec7d35b964b1d95"
OLD_CSV = "8b54a25885144b7be84433405090debf"
OLD_TXT = "feefacd7e149dd6b25828a3eebe5d7b9"
OLD_CHANGED = "465e3241b847456cde71f29b87e574ff"


def write(folder: pathlib.Path, records: list[Any], name: str = "a.jsonl") -> pathlib.Path:
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return folder / name


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize(
    "record",
    [
        {"text": "words", "id": None},
        {"text": "", "id": 1},
        {"text": None},
        {"messages": TURNS, "text_id": None},
        {"text": 'say "content": null'},
        {"instruction": "Q", "input": "", "output": "A"},
        {"instruction": "Q", "output": None},
        {"text": "a", "messages": None},
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {"instruction": "", "input": "Q", "output": "A"},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": '"A" \n'}]},
        {"messages": {"role": ["user", "assistant"], "content": ["", "A"]}},
        {"messages": [*TURNS, {"role": "assistant", "content": None}]},
        {"messages": [TURNS[0], {**TURNS[1], "learn": True, "tool_calls": None}]},
        {"prompt": "Q", "chosen": TURNS, "rejected": TURNS},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, TURNS[1]]},
    ],
)
def test_a_file_whose_documents_stay_keeps_its_fingerprint(
    tmp_path: pathlib.Path, record: Any, name: str
) -> None:
    assert not is_read_otherwise(write(tmp_path, [{"text": "words"}, record], name), ReadOptions())


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize(
    "record",
    [
        {"text": None, "messages": TURNS},
        {"text": "", "content": "words"},
        {"text": [], "content": "words"},
        {"instruction": None, "prompt": "Q", "response": "A"},
        {"instruction": " ", "output": "A"},
        {"prompt": "Q", "response": "", "output": "A"},
        {"prompt": "Q", "completion": "A"},
        {"messages": [], "content": "a"},
        {"messages": [TURNS[0], {"role": "assistant", "content": ""}]},
        {"messages": [{"role": None, "from": "human", "value": "Q"}, TURNS[1]]},
        {"text": float("nan"), "content": "a"},
        {"messages": [*TURNS, {"role": "assistant", "content": " \n"}]},
        {"messages": json.dumps([*TURNS, {"role": "assistant", "content": " \n"}])},
        {"messages": TURNS[:1]},
        {"messages": [TURNS[0], {**TURNS[1], "tool_calls": [1]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}, TURNS[1]]},
        {"messages": [{"role": "user", "parts": ["Q"]}, {"role": "model", "parts": ["A"]}]},
        {"messages": [{"role": "user", "text": "Q"}, TURNS[1]]},
        {"prompt": "Q", "chosen": "A", "rejected": ""},
        {"prompt": "Q", "chosen": "", "rejected": "B"},
        {"prompt": [{"role": "function", "content": "Q"}], "chosen": "A", "rejected": "B"},
        {"instruction": ["Q"], "completion": "A", "content": "words"},
        {"chosen": [TURNS[0], {"role": "Assistant", "content": "A"}], "rejected": TURNS},
    ],
)
def test_a_file_whose_documents_changed_gets_another(tmp_path: pathlib.Path, record: Any, name: str) -> None:
    assert is_read_otherwise(write(tmp_path, [{"text": "words"}] * 100 + [record], name), ReadOptions())


@pytest.mark.parametrize(
    ("text", "is_otherwise"),
    [
        ("text,id\na,\n", False),
        ("instruction,input,output\nQ,,A\n", False),
        ("text\nnanny\n", False),
        ("text\nnan\n", True),
        (",text\n0,a\n", True),
        ('\ufeff"",text\n0,a\n', True),
        ("instruction,prompt,response\n,Q,A\n", True),
        ("text,messages\n,[]\n", True),
    ],
)
def test_of_tables_the_names_tell(tmp_path: pathlib.Path, text: str, is_otherwise: bool) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert is_read_otherwise(tmp_path / "a.csv", ReadOptions()) is is_otherwise


def test_the_fingerprint_of_ordinary_records_is_that_of_earlier_versions(tmp_path: pathlib.Path) -> None:
    ordinary = write(tmp_path, [{"text": "one", "id": 1}, {"text": "two", "id": None}])
    (tmp_path / "b.csv").write_text("text,id\none,1\n")
    (tmp_path / "c.txt").write_text("one\n")
    assert [Files(path).fingerprint() for path in (ordinary, tmp_path / "b.csv", tmp_path / "c.txt")] == [
        OLD_JSONL,
        OLD_CSV,
        OLD_TXT,
    ]
    changed = write(tmp_path, [{"text": "one", "id": 1}, {"text": None, "content": "two"}])
    assert Files(changed).fingerprint() != OLD_CHANGED


@pytest.mark.parametrize(
    ("turn", "is_otherwise"),
    [
        ({"role": "assistant", "content": "A"}, False),
        ({"from": "gpt", "value": "A"}, False),
        ({"role": "Assistant", "content": "A"}, True),
        ({"from": "ai", "value": "A"}, True),
        ({"role": "assistant", "content": "A", "weight": 0}, True),
    ],
)
def test_conversations_with_roles_or_flags_that_are_new_get_another_fingerprint(
    tmp_path: pathlib.Path, turn: dict[str, Any], is_otherwise: bool
) -> None:
    first = {"from": "human", "value": "Q"} if "from" in turn else {"role": "user", "content": "Q"}
    for turns in ([first, turn], json.dumps([first, turn])):
        file = write(tmp_path, [{"text": "words", "author": "ai"}, {"messages": turns}])
        assert is_read_otherwise(file, ReadOptions()) is is_otherwise


def test_the_records_of_a_json_file_are_not_read_for_its_fingerprint(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("[" + "1," * 1000 + "1]")
    monkeypatch.setattr("highnoon.data.sources.changed_reading.reader_of", lambda path: pytest.fail("read"))
    assert not is_read_otherwise(tmp_path / "a.json", ReadOptions())
