"""Source and documents are in the field's plain words: none of the retired ones comes back."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("plain_words", ROOT / "scripts/plain_words.py")
plain_words = importlib.util.module_from_spec(_spec)
sys.modules["plain_words"] = plain_words
_spec.loader.exec_module(plain_words)

PUT_BACK = {
    "the tokens that are learnt": "learnt",
    "the cache is made anew": "anew",
    "printed beside the loss": "beside",
    "a pass for naught": "naught",
    "it runs for ever": "for ever",
    "the run goes on": "go on",
    "a sentence that goes\non in the next line": "go on",
    "bad steps are passed over": "pass over",
    "handed on to the layer": "hand on",
    "mend the file": "mend",
    "the last rung": "rung",
    "the loss climbs": "climb",
    "`forgive()` the faults": "forgive",
    "the law of the next token": "law",
    "the how-manieth watch": "how-manieth",
    "without heed": "heed",
    "as dear as all experts": "dear as",
    "images, sounds and the like": "the like",
    "a stretch of characters": "stretch",
    "what it told of is over": "told of",
    "a rule has spoken": "spoken",
    "the place of a token": "place",
    "keeps places between": "place",
    "its share of the rows": "share",
}
FINE = (
    "Writes the array in place.",
    "Places the variables on a device. To place them, open the scope.",
    "Replicas share a step, and like blocks share weights.",
    "A document passes a filter; one pass over the data is an epoch.",
    "A scaling law, and power laws.",
    "`LetterShare` and `min_letter_share` are public names.",
    "Besides, the replacement is placed on the marketplace.",
)


def words_in(text: str, name: str = "page.md") -> set[str]:
    return {found.word for found in plain_words.retired_words_in(pathlib.Path(name), text)}


def test_source_and_documents_hold_no_retired_word():
    found = [entry for path in plain_words.checked_files() for entry in plain_words.retired_words_in(path)]
    assert not found, "\n" + "\n".join(map(str, found[:40]))


@pytest.mark.parametrize("text", PUT_BACK)
def test_a_retired_word_that_is_put_back_is_found(text):
    assert PUT_BACK[text] in words_in(text)
    assert PUT_BACK[text] in words_in("".join(f"# {line}\n" for line in text.splitlines()), "module.py")


def test_every_retired_word_is_tried_and_stands_in_the_glossary():
    words = {retired.word for retired in plain_words.RETIRED}
    assert words == set(PUT_BACK.values())
    glossary = plain_words.EXEMPT.search((ROOT / "CONTRIBUTING.md").read_text())[0]
    assert [word for word in sorted(words) if word not in glossary] == []


@pytest.mark.parametrize("text", FINE)
def test_words_that_only_look_like_retired_ones_are_fine(text):
    assert words_in(text) == set()


@pytest.mark.parametrize(
    "source",
    ["place = 3", "self._places[0]", "x = share_of(rows)", "def law(): ...", "NextRung()", "row_shares = 1"],
)
def test_names_in_code_are_checked(source):
    assert words_in(source + "\n", "module.py")


@pytest.mark.parametrize(
    "source",
    [
        "place_variables(model)",
        "replace(x)",
        "shared = share_blocks(model)",
        "inplace",
        "def shares(self):  # former name",
        'report["places"] = 1',
    ],
)
def test_verbs_and_former_names_are_fine(source):
    assert words_in(source + "\n", "module.py") == set()


def test_a_finding_names_file_line_word_and_what_to_say():
    (found,) = plain_words.retired_words_in(ROOT / "docs/page.md", "fine\nmade anew\n")
    assert str(found) == "docs/page.md:2: `anew`: say again, or from scratch (retired word `anew`)"


def test_the_check_reads_the_whole_house():
    parts = {path.relative_to(ROOT).parts[0] for path in plain_words.checked_files()}
    assert parts == set(plain_words.CHECKED)
