"""Data in memory reads as the same records in files do, and is identified by its content."""

from __future__ import annotations

import json

import numpy as np
import pytest

from highnoon.data import DataError, Files, InMemoryDataset, ReadOptions, TextDataset, open_source, tokenize
from highnoon.data.sources.in_memory import STREAM_DOCUMENTS
from highnoon.tokenization import ByteTokenizer

TEXTS = [f"the fox number {number} ran over the hills" for number in range(150)]
RECORDS = [{"text": text, "id": number, "label": number % 3} for number, text in enumerate(TEXTS)]


def _texts(source):
    return [document.text for document in source.documents()]


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("hf")
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    return datasets.load_dataset("json", data_files=str(folder / "a.jsonl"), cache_dir=str(folder / "cache"))


def _read():
    yield from TEXTS


def test_every_kind_of_object_gives_the_same_documents(hugging_face):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(RECORDS)
    objects = [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        frame["text"],
        _read,
        hugging_face["train"].select_columns(["text"]),
    ]
    assert len({open_source(data).fingerprint() for data in objects}) == 1
    labeled = [
        RECORDS,
        frame,
        hugging_face,
        hugging_face["train"],
        hugging_face["train"].with_format("numpy"),
        hugging_face["train"].to_iterable_dataset(),
        hugging_face["train"].data.table,
        lambda: iter(RECORDS),
    ]
    assert len({open_source(data).fingerprint() for data in labeled}) == 1
    for data in (*objects, *labeled):
        assert _texts(open_source(data)) == TEXTS
    documents = list(open_source(hugging_face).documents())
    assert documents[7].id == "7" and documents[7].label == "1"


def test_tensorflow_datasets_of_strings_and_of_dicts():
    tf = pytest.importorskip("tensorflow")
    strings = tf.data.Dataset.from_tensor_slices(TEXTS)
    assert open_source(strings).fingerprint() == open_source(TEXTS).fingerprint()
    records = strings.map(lambda text: {"words": text})
    assert _texts(open_source(records, text_field="words")) == TEXTS
    for data, problem in (
        (strings.batch(2), r"unbatch\(\)"),
        (strings.repeat(), "without end"),
        (strings.map(lambda text: (text, 1)), "are tuples"),
        (tf.data.Dataset.range(3), "holds int64 and no strings"),
    ):
        with pytest.raises(DataError, match=problem):
            open_source(data)


def test_options_of_reading_apply_and_unneeded_columns_are_not_read(hugging_face):
    frame = pytest.importorskip("pandas").DataFrame(
        {"review": ["good", None, "bad"], "huge": [b"x" * 99] * 3}
    )
    source = open_source(frame, text_field="review")
    assert _texts(source) == ["good", "bad"] and source.bad_records.total == 1
    with pytest.raises(DataError, match=r"the columns review, huge, none of them text.*text_field"):
        open_source(frame)
    assert list(next(source._records())) == ["review"]
    template = open_source(hugging_face["train"], template="{id}: {text}")
    assert _texts(template)[3] == f"3: {TEXTS[3]}"


def test_one_changed_record_changes_the_fingerprint():
    before = open_source(RECORDS).fingerprint()
    for change in ({"text": "other"}, {"label": 9}, {"text": TEXTS[3] + " "}):
        assert open_source([*RECORDS[:3], RECORDS[3] | change, *RECORDS[4:]]).fingerprint() != before
    assert open_source(RECORDS[::-1]).fingerprint() != before
    assert open_source([record | {"unread": 1} for record in RECORDS]).fingerprint() == before


def test_data_that_changes_between_two_readings_is_refused(tmp_path):
    readings = []

    def unsteady():
        readings.append(1)
        return iter([*TEXTS, f"reading {len(readings)}"])

    with pytest.raises(DataError, match="gave other documents than when it was first read"):
        tokenize(open_source(unsteady), ByteTokenizer(), tmp_path)


def test_a_list_that_grows_later_is_not_read_further():
    texts = list(TEXTS)
    source = open_source(texts)
    texts.append("later")
    assert _texts(source) == TEXTS


def test_a_stream_is_identified_by_its_beginning():
    def many():
        return (f"text {number}" for number in range(STREAM_DOCUMENTS + 10))

    def more():
        return (f"text {number}" for number in range(STREAM_DOCUMENTS + 20))

    streams = [InMemoryDataset(data, is_streamed=True).fingerprint() for data in (many, more)]
    assert streams[0] == streams[1] != InMemoryDataset(_read, is_streamed=True).fingerprint()
    assert InMemoryDataset(many).fingerprint() != InMemoryDataset(more).fingerprint()


def test_of_several_splits_train_is_read_and_said(hugging_face):
    datasets = pytest.importorskip("datasets")
    splits = datasets.DatasetDict(train=hugging_face["train"], test=hugging_face["train"].select([0]))
    with pytest.warns(UserWarning, match=r'`train` is read.*dataset\["test"\]'):
        assert _texts(open_source(splits)) == TEXTS
    with pytest.raises(DataError, match="the splits a, b and no `train`"):
        open_source(datasets.DatasetDict(a=splits["test"], b=splits["test"]))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (_read(), "can be read once.*datasets=read_texts instead of"),
        (np.zeros((3, 4), np.int64), "holds no texts.*model.fit"),
        ([[1, 2], [3]], "received a list of list.*model.fit"),
        ([], "empty"),
        (["a", 3], "must give texts .strings. or records .dicts.; received 3 of type int"),
    ],
)
def test_what_is_no_text_is_answered_with_what_to_do(data, problem):
    with pytest.raises(DataError, match=problem):
        list(open_source(data).documents())


def test_bad_records_are_counted_and_located():
    records = [{"text": "good"}, {"messages": [{"role": "nobody", "content": "x"}]}]
    with pytest.raises(DataError, match=r"list of 2 records record 1.*nobody.*--skip-bad"):
        list(open_source(records).documents())
    source = open_source(records, skip_bad=True)
    assert _texts(source) == ["good"] and source.bad_records.total == 1


def test_conversations_in_memory_equal_those_in_a_file(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns}))
    file, memory = Files(tmp_path / "a.jsonl"), InMemoryDataset([{"messages": turns}])
    for one, other in zip(file.documents(), memory.documents(), strict=True):
        assert (one.text, one.supervised, one.marks) == (other.text, other.supervised, other.marks)


def test_text_dataset_takes_an_object(tmp_path):
    dataset = TextDataset(TEXTS, ByteTokenizer(), max_length=32, cache_dir=tmp_path)
    assert next(dataset.batches(2))["token_ids"].shape == (2, 32)
    named = InMemoryDataset(TEXTS, name="foxes", options=ReadOptions(skip_bad=True))
    assert TextDataset(named).name == "foxes"
