"""A value of `datasets=` is names or data, by a documented rule."""

from __future__ import annotations

import pytest

from highnoon.data import DataError, InMemoryDataset, StandardLibrary
from highnoon.data.sources.absent_data import AbsentData
from highnoon.data.sources.dataset_entries import dataset_entries, describe_dataset

TEXTS = ["once upon a time there was a fox", "short"]


def test_names_and_sources_stay_what_they_are():
    source = StandardLibrary(("docs",))
    for value in (["pile", "the_stack"], [("pile", 0.5), ("oasst", 0.5)], [{"name": "a.txt"}], [source]):
        assert dataset_entries(value) == value
    assert dataset_entries("pile") == ["pile"] and dataset_entries(source) == [source]
    assert dataset_entries(["my file.txt", "two words"]) == ["my file.txt", "two words"]
    assert dataset_entries([["a.txt", "much"]]) == [["a.txt", "much"]]


@pytest.mark.parametrize(
    "value",
    [TEXTS, [TEXTS], ["one\ntwo"], [{"text": "a"}, {"text": "b"}], [[{"text": "a"}]], {"name": TEXTS}],
)
def test_texts_and_records_are_one_dataset(value):
    (entry,) = dataset_entries(value)
    assert isinstance(entry, InMemoryDataset)


def test_an_existing_file_is_a_name_however_many_words_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file of four words.txt").write_text("x")
    assert dataset_entries(["a file of four words.txt"]) == ["a file of four words.txt"]


def test_pairs_of_data_and_weights():
    pairs = dataset_entries([(TEXTS, 0.25), ("pile", 0.75)])
    assert isinstance(pairs[0][0], InMemoryDataset) and pairs[0][1] == 0.25 and pairs[1] == ("pile", 0.75)


def test_equal_names_are_numbered():
    assert [entry.name for entry in dataset_entries([TEXTS[:1] * 2, ["x y"] * 2])] == [
        "list of 2 texts",
        "list of 2 texts (2)",
    ]


def test_a_list_of_names_and_texts_is_refused():
    with pytest.raises(DataError, match=r"has the name `stdlib:docs` and a text.*datasets=\[texts\]"):
        dataset_entries(["stdlib:docs", TEXTS[0]])


def test_options_of_a_mapping_apply_to_an_object():
    (entry,) = dataset_entries({"name": [{"body": "a"}], "text_field": "body", "stream": True})
    assert next(entry.documents()).text == "a" and entry.is_streamed
    with pytest.raises(DataError, match="`split` is an option of files"):
        dataset_entries({"name": TEXTS, "split": "line"})


def test_data_in_memory_is_described_and_read_back_as_absent():
    (entry,) = dataset_entries(TEXTS)
    description = describe_dataset(entry)
    assert description == {"in_memory": "list of 2 texts"}
    (absent,) = dataset_entries([description])
    assert isinstance(absent, AbsentData) and describe_dataset(absent) == description
    for use in (absent.fingerprint, absent.documents):
        with pytest.raises(DataError, match="not saved with a run; add its stage again"):
            use()
