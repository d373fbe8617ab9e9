"""TFRecord files as rows."""

from __future__ import annotations

import gzip
import pathlib

import pytest
import tensorflow as tf

from highnoon.data.bad_rows import BadRowError, BadRows
from highnoon.data.formats.tfrecord import read_tfrecord
from highnoon.data.read_options import ReadOptions


def example(**features: list[bytes] | list[int]) -> bytes:
    def feature(values: list[bytes] | list[int]) -> tf.train.Feature:
        if values and isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    message = tf.train.Example(features=tf.train.Features(
        feature={name: feature(values) for name, values in features.items()}))
    return bytes(message.SerializeToString())


def write(file: pathlib.Path, records: list[bytes]) -> pathlib.Path:
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return file


def test_features_are_fields(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [
        example(text=["é".encode()], id=[7]), example(text=[], words=[b"a", b"b"])])
    assert list(read_tfrecord(file, ReadOptions(), BadRows())) == [
        ({"text": "é".encode(), "id": 7}, f"{file} row 1", 1),
        ({"text": None, "words": [b"a", b"b"]}, f"{file} row 2", 2)]


def test_a_packed_file_is_the_same(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [example(text=[b"one"])])
    (tmp_path / "b.tfrecord.gz").write_bytes(gzip.compress(file.read_bytes()))
    [row] = read_tfrecord(tmp_path / "b.tfrecord.gz", ReadOptions(), BadRows())
    assert row.values == {"text": b"one"}


def test_a_damaged_record_is_named(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [example(text=[b"some text"])] * 3)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    rows = read_tfrecord(file, ReadOptions(), BadRows())
    assert next(rows).number == 1
    with pytest.raises(BadRowError, match=r"a\.tfrecord row 2: damaged, or no TFRecord file \(corrupted"):
        next(rows)


def test_a_record_that_is_no_example_is_left_out(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [b"\xffno example", example(text=[b"one"])])
    bad = BadRows(skip=True)
    assert [row.values for row in read_tfrecord(file, ReadOptions(), bad)] == [{"text": b"one"}]
    assert bad.report()["reasons"]["no example"]["places"] == [f"{file} row 1"]
