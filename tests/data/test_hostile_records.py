"""Rows and files that anyone may have written: a document, or an error of one line in bounded time."""

from __future__ import annotations

import gzip
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from highnoon.data import DataError, Files
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.records.record_kind import KINDS, KNOWN_FIELDS
from highnoon.data.records.record_renderer import RecordRenderer
from highnoon.data.records.record_source import RecordSource

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from(
        ["", " ", "Q", "A", "user", "assistant", "gpt", "[]", '[{"role": "user", "content": "Q"}]', "\ud800"]
    ),
)
TURNS = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "from", "value", "weight"]), LEAVES, max_size=4),
    max_size=3,
)
VALUES = st.one_of(
    LEAVES,
    TURNS,
    st.recursive(
        LEAVES,
        lambda part: (
            st.lists(part, max_size=3)
            | st.dictionaries(st.sampled_from(["role", "content", "a\nb"]), part, max_size=3)
        ),
        max_leaves=6,
    ),
)
ROWS = st.dictionaries(st.sampled_from([*KNOWN_FIELDS, "id", "source", "extra\n"]), VALUES, max_size=6)
FUZZ = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEW = settings(FUZZ, max_examples=60)
SOME = settings(FUZZ, max_examples=150)


def require_one_line(error: DataError) -> None:
    assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000


@FUZZ
@given(
    ROWS,
    st.sampled_from(
        [{}, {"text_field": "text"}, {"template": "{prompt}:{text}"}, *({"kind": k} for k in KINDS)]
    ),
)
def test_any_record_is_a_document_or_a_bad_record(record: dict[str, Any], options: dict[str, Any]) -> None:
    renderer = RecordRenderer(ReadOptions(**options))
    for render in (renderer.render, renderer.pair):
        try:
            render(record, "a:1")
        except DataError as error:
            require_one_line(error)


def read_both_ways(name: str, content: bytes) -> None:
    """Reads a file with bad records as errors, and with bad records skipped."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, name)
        path.write_bytes(content)
        try:
            source: RecordSource = Files(path, options=ReadOptions(max_line_bytes=10_000))
            source.fingerprint()
            num_documents = sum(1 for _ in source.documents())
        except DataError as error:
            require_one_line(error)
            num_documents = None
        source = Files(path, options=ReadOptions(max_line_bytes=10_000, skip_bad=True))
        source.fingerprint()
        num_kept = sum(1 for _ in source.documents())
        assert num_kept == num_documents or (num_documents is None and source.bad_records.total)


PIECES = st.one_of(
    st.binary(max_size=40),
    ROWS.map(lambda record: json.dumps(record, default=str).encode()),
    st.sampled_from(
        [
            b"\n",
            b"\r\n",
            b"[",
            b"]",
            b"{",
            b"}",
            b",",
            b'"',
            b"text",
            b"text,content\n",
            b'"text": ',
            b"\0",
            b"null",
            b"NaN",
            b'{"text": "a"}',
            b"[" * 200,
            b'{"a":' * 200,
            b"\xef\xbb\xbf",
            b"1" * 5000,
            b"\t",
        ]
    ),
)
CONTENTS = st.lists(PIECES, max_size=12).map(b"".join)


NAMES = ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt"]


@FUZZ
@given(CONTENTS, st.sampled_from(NAMES))
def test_any_bytes_are_read_or_refused(content: bytes, name: str) -> None:
    read_both_ways(name, content)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_any_bytes_of_each_format_are_read_or_refused(name: str) -> None:
    @FUZZ
    @given(CONTENTS)
    def check(content: bytes) -> None:
        read_both_ways(name, content)

    check()


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Copies of a sound file with a few other bytes, cut, or lengthened."""
    spots = st.lists(
        st.tuples(
            st.integers(0, len(content) - 1), st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)
        ),
        max_size=4,
    )

    def damage(changes: list[tuple[int, int]], stop: int, more: bytes) -> bytes:
        changed = bytearray(content)
        for spot, value in changes:
            changed[spot] = value
        return bytes(changed[:stop]) + more

    return st.builds(
        damage,
        spots,
        st.just(len(content)) | st.integers(0, len(content)),
        st.just(b"") | st.binary(max_size=9),
    )


LINES = b"".join(
    json.dumps({"text": f"record {number}", "id": number}).encode() + b"\n" for number in range(20)
)


def packed_gzip() -> bytes:
    return gzip.compress(LINES, mtime=0)


def packed_zstandard() -> bytes:
    zstandard = pytest.importorskip("zstandard", reason="the extra zstd is not installed")
    packed: bytes = zstandard.ZstdCompressor().compress(LINES)
    return packed


def parquet() -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(
        pyarrow.table({"text": ["a", None, "b"], "messages": [[], None, [{"role": "user"}]]}), sink
    )
    written: bytes = sink.getvalue().to_pybytes()
    return written


def tfrecord() -> bytes:
    import tensorflow as tf

    text = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"some text"]))
    record = tf.train.Example(features=tf.train.Features(feature={"text": text})).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        with tf.io.TFRecordWriter(f"{folder}/a") as writer:
            for _ in range(3):
                writer.write(record)
        return pathlib.Path(folder, "a").read_bytes()


def array_record() -> bytes:
    library = pytest.importorskip(
        "array_record.python.array_record_module", reason="the extra array-record is not installed"
    )
    with tempfile.TemporaryDirectory() as folder:
        writer = library.ArrayRecordWriter(f"{folder}/a", "group_size:2")
        for number in range(5):
            writer.write(b'{"text": "record %d"}' % number)
        writer.close()
        return pathlib.Path(folder, "a").read_bytes()


SOUND: dict[str, Callable[[], bytes]] = {
    "a.jsonl.gz": packed_gzip,
    "a.jsonl.zst": packed_zstandard,
    "a.parquet": parquet,
    "a.tfrecord": tfrecord,
    "a.array_record": array_record,
}


@pytest.mark.parametrize(
    ("name", "sound", "how"),
    [
        *((name, sound, FEW) for name, sound in SOUND.items() if "tfrecord" not in name),
        *(
            # TensorFlow makes a data set for every case.
            pytest.param(name, sound, SOME if "tfrecord" in name else FUZZ, marks=pytest.mark.slow)
            for name, sound in SOUND.items()
        ),
    ],
)
def test_a_damaged_file_is_read_or_refused(name: str, sound: Callable[[], bytes], how: settings) -> None:
    content = sound()
    read_both_ways(name, content)

    @how
    @given(damaged(content))
    def check(changed: bytes) -> None:
        read_both_ways(name, changed)

    check()
