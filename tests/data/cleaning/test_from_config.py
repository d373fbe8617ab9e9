"""Steps from plain data."""

from __future__ import annotations

import json

import pytest
import yaml

from highnoon.config import ConfigError
from highnoon.data import DataError
from highnoon.data.cleaning import ExactDuplicates, Length, NotIn, PersonalData, Repetition, from_config


def test_yaml_and_json_give_the_steps_that_are_written_there():
    text = """
    - {step: length, min_words: 20}
    - {step: repetition, top_ngrams: [0.3, 0.2, 0.1]}
    - {step: personal_data, action: drop, kinds: [ip, email]}
    - step: exact_duplicates
    """
    expected = [
        Length(min_words=20),
        Repetition(top_ngrams=(0.3, 0.2, 0.1)),
        PersonalData("drop", ("email", "ip")),
        ExactDuplicates(),
    ]
    entries = yaml.safe_load(text)
    assert from_config(entries) == from_config(json.loads(json.dumps(entries))) == expected


def test_options_of_a_step_make_it_again():
    step = Repetition(lines=0.5)
    assert from_config([{"step": step.name, **json.loads(json.dumps(step.options()))}]) == [step]


@pytest.mark.parametrize(
    ("entry", "kind", "message"),
    [
        (
            {"step": "lenght"},
            DataError,
            "cleaning step 2: no step is called 'lenght'; did you mean `length`?",
        ),
        ({"min_words": 3}, DataError, "cleaning step 2 must be a mapping with `step`"),
        ("length", DataError, "cleaning step 2 must be a mapping with `step`"),
        (
            {"step": "length", "min_word": 3},
            ConfigError,
            "step 2 .length. has no key `min_word`; did you mean",
        ),
        ({"step": "length", "min_words": -3}, DataError, "`min_words` must not be negative"),
        ({"step": ["length"]}, DataError, "cleaning step 2: no step is called .'length'."),
        ({"step": "language", "languages": 3}, DataError, "step 2 .language.: `languages` must be a text or"),
        (
            {"step": "personal_data", "kinds": 3},
            DataError,
            "2 .personal_data.: `kinds` must be a text or a list",
        ),
        (
            {"step": "personal_data", "placeholder": "{kind:>99999999999}"},
            DataError,
            "no braces other than `{kind}`",
        ),
        (
            {"step": "personal_data", "placeholder": "{kind.__class__}"},
            DataError,
            "no braces other than `{kind}`",
        ),
        ({"step": "alphabet_share", "alphabet": ["latin"]}, DataError, "there is no alphabet `..latin'.`"),
        ({"step": "near_duplicates", "num_hashes": 10**9}, DataError, "`num_hashes` must be at most 1,024"),
        ({"step": "near_duplicates", "seed": 2**32}, DataError, "`seed` must be at most 4,294,967,295"),
        ({"step": "length", "min_words": 10**5000}, DataError, "received an integer of 16,610 bits"),
        ({"step": "not_in"}, DataError, "cleaning step 2 .not_in. needs `benchmark`"),
    ],
)
def test_an_entry_that_is_no_step_is_an_error_that_says_which(entry, kind, message):
    with pytest.raises(kind, match=message):
        from_config([{"step": "length"}, entry])


def test_a_benchmark_is_opened_by_its_name(tmp_path):
    (tmp_path / "questions.txt").write_text("Which of the four foxes of the old story met nine crows there?")
    (step,) = from_config([{"step": "not_in", "benchmark": str(tmp_path / "questions.txt")}])
    assert isinstance(step, NotIn) and len(step.options()["fingerprint"]) == 32


@pytest.mark.parametrize("entries", [None, "length", {"step": "length"}, 3])
def test_what_is_no_list_of_steps_is_an_error(entries):
    with pytest.raises(DataError, match="cleaning steps must be a list of mappings"):
        from_config(entries)
