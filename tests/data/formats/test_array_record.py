"""ArrayRecord files as records."""

from __future__ import annotations

import pathlib
import sys

import pytest

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.array_record import read_array_record
from highnoon.data.records.read_options import ReadOptions

library = pytest.importorskip(
    "array_record.python.array_record_module", reason="the extra array-record is not installed"
)


def write(file: pathlib.Path, records: list[bytes]) -> pathlib.Path:
    writer = library.ArrayRecordWriter(str(file), "group_size:4")
    for record in records:
        writer.write(record)
    writer.close()
    return file


def test_json_and_examples_are_records(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    text = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"two"]))
    record = tf.train.Example(features=tf.train.Features(feature={"text": text})).SerializeToString()
    file = write(tmp_path / "a.array_record", ['{"text": "é"}'.encode(), record])
    assert list(read_array_record(file, ReadOptions(), BadRecords())) == [
        ({"text": "é"}, f"{file} record 1", 1),
        ({"text": b"two"}, f"{file} record 2", 2),
    ]


def test_more_records_than_are_read_at_once_come_in_order(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.array_record", [b'{"n": %d}' % number for number in range(1000)])
    records = list(read_array_record(file, ReadOptions(), BadRecords()))
    assert [record.values["n"] for record in records] == list(range(1000))


@pytest.mark.parametrize("keep", [50, 70_000])
def test_a_cut_file_is_an_error_that_names_it(tmp_path: pathlib.Path, keep: int) -> None:
    file = write(tmp_path / "a.array_record", [b'{"n": %d}' % number for number in range(10)])
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        BadRecordError, match=r"a\.array_record record 1: damaged, or not an ArrayRecord file"
    ):
        list(read_array_record(file, ReadOptions(), BadRecords()))


def test_a_record_that_is_neither_is_left_out(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.array_record", [b"{", b"\xffx", b'{"text": "one"}'])
    bad = BadRecords(skip=True)
    assert [record.values for record in read_array_record(file, ReadOptions(), bad)] == [{"text": "one"}]
    assert bad.total == 2


def test_without_the_library_the_error_names_the_extra(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(ImportError, match=r"pip install highnoon\[array-record\]"):
        list(read_array_record(tmp_path / "a.array_record", ReadOptions(), BadRecords()))
