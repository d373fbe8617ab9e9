"""Overlap of training text with benchmarks and with the held-out side."""

from __future__ import annotations

import io
import json
import random

import pytest
from rich.console import Console

from highnoon.data import DataError, Document
from highnoon.data.cleaning import CleanedSource, NotIn
from highnoon.data.cleaning.contamination import find_contamination, report_contamination
from highnoon.data.tokens.splitting import split_hash, split_threshold

QUESTION = "Which of the four foxes of the old story met nine crows down by the river?"
OTHERS = ["A page about rivers and the people who live there. " * 3, "Nothing to see."]


def search(make_source, train, *benchmark, **options):
    report = find_contamination(
        make_source(train, "train"), [make_source(benchmark, "benchmark")], validation_split=0.0, **options
    )
    return report["benchmarks"][0]


def test_a_run_of_13_words_is_found_whatever_case_and_punctuation(make_source):
    words = QUESTION.upper().replace(" ", " - ")
    found = search(make_source, [*OTHERS, f"Told before. {words} Yes!"], "What is a crow?", QUESTION)
    assert (found["examples"], found["contaminated"], found["share"]) == (2, 1, 0.5)
    assert found["train_documents"] == 1


def test_twelve_words_in_common_are_not_enough(make_source):
    twelve = " ".join(QUESTION.split()[:12])
    assert search(make_source, [f"{twelve} and so on"], QUESTION)["contaminated"] == 0
    assert search(make_source, [f"{twelve} and so on"], QUESTION, n=12)["contaminated"] == 1


def test_examples_name_the_spans_on_both_sides(make_source):
    benchmark, page = f"Q7. {QUESTION}", f"„Ähm“, he said. {QUESTION.upper()} Well, nobody knows."
    (entry,) = search(make_source, [*OTHERS, page], benchmark)["found"]
    for side, text in (("example", benchmark), ("train", page)):
        index = entry[side]
        assert text[index["start"] : index["stop"]].casefold() == " ".join(QUESTION.split()[:13]).casefold()
    assert (entry["example"]["source"], entry["example"]["id"]) == ("benchmark", "0")
    assert (entry["train"]["source"], entry["train"]["id"]) == ("train", "2")
    assert entry["words"] == " ".join(QUESTION.upper().split()[:13])


def test_shorter_examples_are_sought_whole_and_very_short_ones_as_whole_documents(make_source):
    train = ["He asked: how many crows are there in the tower? Seven.", "Paris!", "The answer is Paris."]
    eight = "How many crows are there in the tower?"
    assert search(make_source, train, eight)["contaminated"] == 1
    assert search(make_source, train, eight + " Well")["contaminated"] == 0
    found = search(make_source, train, "paris")
    assert (found["contaminated"], found["train_documents"]) == (1, 1)
    assert search(make_source, train, "The answer is")["contaminated"] == 0


def test_every_example_that_shares_a_run_is_counted(make_source):
    found = search(
        make_source,
        [QUESTION, QUESTION],
        *[f"{QUESTION} Option {letter}." for letter in "ABCD"],
        num_examples=2,
    )
    assert (found["contaminated"], found["train_documents"], len(found["found"])) == (4, 2, 2)


def test_found_examples_equal_a_naive_search(make_source):
    chooser = random.Random(7)
    texts = [" ".join(chooser.choice("ab") for _ in range(chooser.randrange(5, 40))) for _ in range(120)]
    train, benchmark = texts[:80], texts[80:]
    runs = {
        tuple(words[index : index + 9]) for words in map(str.split, train) for index in range(len(words) - 8)
    }
    long = [words for words in map(str.split, benchmark) if len(words) >= 9]
    expected = sum(
        any(tuple(words[index : index + 9]) in runs for index in range(len(words) - 8)) for words in long
    )
    found = search(make_source, train, *map(" ".join, long), n=9)
    assert 0 < expected < len(long) and found["contaminated"] == expected


def test_held_out_documents_are_sought_in_those_that_are_trained_on(make_source):
    base = [f"{QUESTION} Version {number}." for number in range(40)]
    held_out = [text for text in base if split_hash(text) < split_threshold(0.3)]
    report = find_contamination(make_source(base + OTHERS), validation_split=0.3)
    (entry,) = report["benchmarks"]
    assert report["train"]["documents"] == 42 - entry["examples"]
    assert entry["benchmark"] == "validation split" and 0 < len(held_out) == entry["contaminated"]
    assert find_contamination(make_source(base), validation_split=0.0)["benchmarks"] == []


def test_report_is_json_and_printed_with_spans(make_source):
    console = Console(file=io.StringIO(), width=200)
    report = report_contamination(
        make_source([QUESTION], "train"),
        [make_source([QUESTION], "benchmark")],
        validation_split=0.0,
        console=console,
    )
    assert json.loads(json.dumps(report)) == report
    printed = console.file.getvalue()
    assert "100.00%" in printed and "benchmark:0[0:60] in train:0[0:60]: Which of the four" in printed


def test_documents_that_overlap_are_dropped_by_the_step(make_source):
    step = NotIn(make_source([QUESTION], "riddles"))
    source = CleanedSource(make_source([*OTHERS, f"So: {QUESTION}"]), [step])
    assert [document.id for document in source.documents()] == ["0", "1"]
    assert list(source.report()["steps"][0]["dropped"]) == ["in riddles"]
    other = CleanedSource(source.source, [NotIn(make_source([QUESTION + "!"], "riddles"))])
    assert other.fingerprint() != source.fingerprint()


def test_after_cleaning_nothing_is_found(make_source):
    chooser = random.Random(3)
    pages = [" ".join(f"word{chooser.randrange(999)}" for _ in range(200)) for _ in range(60)]
    benchmark = make_source([" ".join(page.split()[20:60]) for page in pages[::3]], "benchmark")
    train = make_source(pages)
    found = find_contamination(train, [benchmark], validation_split=0.0)["benchmarks"][0]
    assert found["share"] == 1.0
    left = find_contamination(CleanedSource(train, [NotIn(benchmark)]), [benchmark], validation_split=0.0)
    assert left["benchmarks"][0]["contaminated"] == 0 and left["train"]["documents"] == 40


def test_bad_arguments_are_errors(make_source):
    with pytest.raises(DataError, match="`n` must be at least 2; received 1"):
        search(make_source, [QUESTION], QUESTION, n=1)
    with pytest.raises(DataError, match="benchmark has no words to search for"):
        search(make_source, [QUESTION], "...")
    with pytest.raises(DataError, match="`n` must be at least 2; received 1"):
        NotIn(make_source([QUESTION]), n=1)
    with pytest.raises(DataError, match="benchmark has no words"):
        NotIn(make_source(["!"], "benchmark")).judge(Document("a"))
