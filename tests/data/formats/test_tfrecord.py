"""TFRecord files as records."""

from __future__ import annotations

import gzip
import pathlib
import struct

import pytest
import tensorflow as tf

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats import tensorflow_example, tfrecord
from highnoon.data.formats.tfrecord import read_tfrecord
from highnoon.data.records.read_options import ReadOptions


def example(**features: list[bytes] | list[int]) -> bytes:
    def feature(values: list[bytes] | list[int]) -> tf.train.Feature:
        if values and isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    message = tf.train.Example(
        features=tf.train.Features(feature={name: feature(values) for name, values in features.items()})
    )
    return bytes(message.SerializeToString())


def write(file: pathlib.Path, records: list[bytes]) -> pathlib.Path:
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return file


def test_features_are_fields(tmp_path: pathlib.Path) -> None:
    file = write(
        tmp_path / "a.tfrecord", [example(text=["é".encode()], id=[7]), example(text=[], words=[b"a", b"b"])]
    )
    assert list(read_tfrecord(file, ReadOptions(), BadRecords())) == [
        ({"text": "é".encode(), "id": 7}, f"{file} record 1", 1),
        ({"text": None, "words": [b"a", b"b"]}, f"{file} record 2", 2),
    ]


def test_a_packed_file_is_the_same(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [example(text=[b"one"])])
    (tmp_path / "b.tfrecord.gz").write_bytes(gzip.compress(file.read_bytes()))
    [record] = read_tfrecord(tmp_path / "b.tfrecord.gz", ReadOptions(), BadRecords())
    assert record.values == {"text": b"one"}


def test_a_damaged_record_is_named(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [example(text=[b"some text"])] * 3)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    records = read_tfrecord(file, ReadOptions(), BadRecords())
    assert next(records).number == 1
    with pytest.raises(
        BadRecordError, match=r"a\.tfrecord record 2: damaged, or not a TFRecord file \(corrupted"
    ):
        next(records)


def test_a_record_that_is_no_example_is_left_out(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [b"\xffno example", example(text=[b"one"])])
    bad = BadRecords(skip=True)
    assert [record.values for record in read_tfrecord(file, ReadOptions(), bad)] == [{"text": b"one"}]
    assert bad.report()["reasons"]["no example"]["places"] == [f"{file} record 1"]


def checksum(data: bytes) -> bytes:
    """The masked CRC-32C by which a TFRecord vouches for its bytes."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    remainder ^= 0xFFFFFFFF
    return struct.pack("<I", ((remainder >> 15 | remainder << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.mark.parametrize("length", [2**60, 2**64 - 1, 2**64 - 6, 2**63, 20_000_000_000, 101])
@pytest.mark.parametrize("before", [0, 3, 256, 600])
def test_an_absurd_length_is_damage_and_loses_no_record_before(
    tmp_path: pathlib.Path, length: int, before: int
) -> None:
    file = write(tmp_path / "a.tfrecord", [example(text=[b"some text"])] * before)
    size = struct.pack("<Q", length)
    file.write_bytes(file.read_bytes() + size + checksum(size) + b"x" * 100)
    records = read_tfrecord(file, ReadOptions(), BadRecords())
    assert [next(records).number for _ in range(before)] == list(range(1, before + 1))
    with pytest.raises(
        BadRecordError, match=rf"a\.tfrecord record {before + 1}: damaged, .*truncated"
    ) as error:
        next(records)
    assert "\n" not in str(error.value)


def test_a_record_longer_than_the_bound_is_refused(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.tfrecord", [example(text=[b"short"]), example(text=[b"x" * 500])])
    records = read_tfrecord(file, ReadOptions(max_line_bytes=400), BadRecords())
    assert next(records).number == 1
    with pytest.raises(BadRecordError, match=r"record 2: .*more than max_line_bytes=400"):
        next(records)


def test_a_feature_of_too_many_values_is_a_bad_record(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorflow_example, "MAX_VALUES", 3)
    file = write(tmp_path / "a.tfrecord", [example(n=[1, 2, 3, 4]), example(n=[1, 2, 3])])
    with pytest.raises(BadRecordError, match="record 1: a feature may have at most 3 values; n has 4"):
        list(read_tfrecord(file, ReadOptions(), BadRecords()))


def test_large_records_are_read_singly_and_in_order(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecord, "_BATCH_BYTES", 9000)
    file = write(
        tmp_path / "a.tfrecord", [example(text=[b"%d" % n * (200 if n > 300 else 1)]) for n in range(900)]
    )
    records = list(read_tfrecord(file, ReadOptions(), BadRecords()))
    assert [record.values["text"] for record in records] == [
        b"%d" % n * (200 if n > 300 else 1) for n in range(900)
    ]
