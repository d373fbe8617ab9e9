"""A chain of steps: what it leaves, what it says of the rest, and what decides its fingerprint."""

from __future__ import annotations

import dataclasses
import io
import json

from rich.console import Console

from highnoon.data.cleaning import (
    CleanedSource,
    ExactDuplicates,
    Length,
    LetterShare,
    PersonalData,
    StatelessStep,
    print_report,
)

TEXTS = ["Ada has a cat.", "no", "ada  HAS a cat.\n", "Write to ada@example.org", "1 2 3 4 5", "Zuñi", "x"]
STEPS = [Length(3), LetterShare(0.5), PersonalData(), ExactDuplicates()]


def texts(source):
    return [document.text for document in source.documents()]


def test_documents_are_what_all_steps_leave(make_source):
    assert texts(CleanedSource(make_source(TEXTS), STEPS)) == ["Ada has a cat.", "Write to [EMAIL]", "Zuñi"]


def test_report_counts_documents_and_bytes_of_each_reason_with_examples(make_source):
    report = CleanedSource(make_source(TEXTS), STEPS, num_examples=1).report()
    assert report["read"] == {"documents": 7, "bytes": sum(len(text.encode()) for text in TEXTS)}
    assert report["kept"] == {"documents": 3, "bytes": 14 + 16 + 5}
    assert report["dropped"] == {"documents": 4, "bytes": 2 + 16 + 9 + 1}
    assert [step["dropped"] for step in report["steps"]] == [
        {"too short": {"documents": 2, "bytes": 3, "examples": [{"source": "texts", "id": "1"}]}},
        {"few letters": {"documents": 1, "bytes": 9, "examples": [{"source": "texts", "id": "4"}]}},
        {},
        {"duplicate": {"documents": 1, "bytes": 16, "examples": [{"source": "texts", "id": "2"}]}},
    ]
    assert report["steps"][2]["changed"] == {
        "email": {"documents": 1, "bytes": 24, "examples": [{"source": "texts", "id": "3"}]}
    }


def test_report_is_the_same_from_a_file_and_after_another_reading(make_source):
    source = CleanedSource(make_source(TEXTS), STEPS)
    first = source.report()
    assert json.loads(json.dumps(first)) == first
    assert len(texts(source)) == 3
    assert source.report() == first


def test_a_reading_that_was_broken_off_leaves_no_report_of_its_own(make_source):
    source = CleanedSource(make_source(TEXTS), STEPS)
    next(source.documents())
    assert source.report()["read"]["documents"] == 7


def test_fingerprint_covers_source_steps_options_order_and_versions(make_source):
    @dataclasses.dataclass(frozen=True)
    class Rule(StatelessStep):
        reason = "ruled out"

        def judge(self, document):
            return None

    chains = [
        [],
        [Length(3)],
        [Length(4)],
        [Length(3), ExactDuplicates()],
        [ExactDuplicates(), Length(3)],
        [Rule()],
    ]
    prints = [CleanedSource(make_source(TEXTS), chain).fingerprint() for chain in chains]
    Rule.version = 2
    prints += [
        CleanedSource(make_source(TEXTS), [Rule()]).fingerprint(),
        CleanedSource(make_source(TEXTS[1:]), []).fingerprint(),
    ]
    assert len(set(prints)) == len(prints)
    assert CleanedSource(make_source(TEXTS), [Length(3)]).fingerprint() == prints[1]


def test_table_shows_each_step_and_reason(make_source):
    console = Console(file=io.StringIO(), width=120)
    print_report(CleanedSource(make_source(TEXTS), [*STEPS, Length()]).report(), console)
    lines = [" ".join(line.replace("│", " ").split()) for line in console.file.getvalue().splitlines()]
    assert "length too short 2 28.57% 3 texts:1, texts:6" in lines
    assert "personal_data changed: email 1 14.29% 24 texts:3" in lines
    assert "length nothing 0 0.00% 0" in lines
