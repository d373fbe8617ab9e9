"""Parquet files as records."""

from __future__ import annotations

import gzip
import pathlib
import subprocess
import sys

import pytest

from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.parquet import read_parquet
from highnoon.data.records.read_options import ReadOptions

pyarrow = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")


def write(file: pathlib.Path, records: int) -> pathlib.Path:
    from pyarrow import parquet

    turns = [[{"role": "user", "content": f"{number}"}] for number in range(records)]
    table = pyarrow.table({"text": [f"record {number}" for number in range(records)], "messages": turns})
    parquet.write_table(table, file, row_group_size=300)
    return file


def test_records_of_all_groups_come_in_order(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.parquet", 1000)
    records = list(read_parquet(file, ReadOptions(), BadRecords()))
    assert [record.values["text"] for record in records] == [f"record {number}" for number in range(1000)]
    assert (records[16].location, records[16].number) == (f"{file} record 17", 17)
    assert records[3].values["messages"] == [{"role": "user", "content": "3"}]


def test_a_packed_file_is_the_same(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.parquet", 10)
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress(file.read_bytes()))
    records = [
        list(read_parquet(path, ReadOptions(), BadRecords())) for path in (file, tmp_path / "b.parquet.gz")
    ]
    assert [record.values for record in records[0]] == [record.values for record in records[1]]
    assert records[1][0].location == f"{tmp_path}/b.parquet.gz record 1"


@pytest.mark.parametrize("damage", ["cut", "text", "middle"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: pathlib.Path, damage: str) -> None:
    file = write(tmp_path / "a.parquet", 1000)
    data = bytearray(file.read_bytes())
    if damage == "middle":
        data[4:4000] = bytes(3996)
    file.write_bytes({"cut": data[:-100], "text": b"text" * 99, "middle": data}[damage])
    with pytest.raises(BadRecordError, match=r"a\.parquet record 1: damaged, or not a Parquet file"):
        list(read_parquet(file, ReadOptions(), BadRecords()))


def test_without_the_library_the_error_names_the_extra(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install highnoon\[arrow\]"):
        list(read_parquet(tmp_path / "a.parquet", ReadOptions(), BadRecords()))


def repeated(file: pathlib.Path, size: int, records: int, is_nested: bool = False) -> pathlib.Path:
    """A file of a few hundred bytes whose records all have the same text of `size` bytes."""
    from pyarrow import parquet

    column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * records, pyarrow.int32()), ["x" * size])
    if is_nested:
        column = pyarrow.ListArray.from_arrays(
            range(records + 1), pyarrow.StructArray.from_arrays([column], ["content"])
        )
    parquet.write_table(
        pyarrow.table({"text": column}), file, compression="zstd", dictionary_pagesize_limit=1 << 30
    )
    return file


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_text_that_a_dictionary_repeats_is_not_held_for_many_records(
    tmp_path: pathlib.Path, is_nested: bool
) -> None:
    file = repeated(tmp_path / "a.parquet", 2_000_000, 300, is_nested)
    assert file.stat().st_size < 2000
    pool = pyarrow.proxy_memory_pool(pyarrow.default_memory_pool())
    usual = pyarrow.default_memory_pool()
    pyarrow.set_memory_pool(pool)
    try:
        assert sum(1 for _ in read_parquet(file, ReadOptions(), BadRecords())) == 300
    finally:
        pyarrow.set_memory_pool(usual)
    assert pool.max_memory() < 400e6


def test_a_record_group_that_unpacks_too_far_is_refused(tmp_path: pathlib.Path) -> None:
    file = repeated(tmp_path / "a.parquet", 70_000_000, 2)
    with pytest.raises(
        BadRecordError, match=r"record 1: a row group expands to 70,\d+,\d+ bytes, more than 1,000 times"
    ):
        list(read_parquet(file, ReadOptions(), BadRecords()))


def test_a_record_that_is_too_long_is_left_out(tmp_path: pathlib.Path) -> None:
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["a", "x" * 500, "b"]}), tmp_path / "a.parquet")
    bad = BadRecords(skip=True)
    records = list(read_parquet(tmp_path / "a.parquet", ReadOptions(max_line_bytes=400), bad))
    assert [record.values["text"] for record in records] == ["a", "b"]
    assert bad.report()["reasons"]["record too long"]["places"] == [f"{tmp_path}/a.parquet record 2"]


def test_columns_nested_too_deep_are_refused(tmp_path: pathlib.Path) -> None:
    from pyarrow import parquet

    kind, value = pyarrow.string(), "a"
    for _ in range(70):
        kind, value = pyarrow.list_(kind), [value]
    parquet.write_table(pyarrow.table({"text": pyarrow.array([value], kind)}), tmp_path / "a.parquet")
    with pytest.raises(BadRecordError, match="nests its columns more than 64 levels deep"):
        list(read_parquet(tmp_path / "a.parquet", ReadOptions(), BadRecords()))


READ_EACH = """
import io, pathlib, sys
from highnoon.data.bad_records import BadRecordError, BadRecords
from highnoon.data.formats.parquet import read_parquet
from highnoon.data.records.read_options import ReadOptions
path, refused = pathlib.Path(sys.argv[1]), 0
content = path.read_bytes()
footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
for position in range(footer, len(content) - 8):
    changed = bytearray(content)
    changed[position] = (changed[position] + 1) % 256
    path.write_bytes(changed)
    try:
        list(read_parquet(path, ReadOptions(), BadRecords()))
    except BadRecordError:
        refused += 1
print(refused)
"""


def test_damage_of_any_byte_of_the_footer_leaves_the_process_alive(tmp_path: pathlib.Path) -> None:
    from pyarrow import parquet

    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"messages": [[{"role": "user"}], None]}), file)
    done = subprocess.run([sys.executable, "-c", READ_EACH, file], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 100, done.stderr[-300:]


def test_only_the_needed_columns_are_read(tmp_path: pathlib.Path) -> None:
    import numpy as np
    from pyarrow import parquet

    noise = np.random.default_rng(3).bytes(4_000_000)
    images = [noise[start : start + 4000] for start in range(0, len(noise), 4000)]
    texts = [f"record {number}" for number in range(1000)]
    table = pyarrow.table({"text": texts, "image": images, "label": list(range(1000))})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=200)

    def count(options: ReadOptions) -> tuple[list[str], int]:
        with open("/proc/self/io") as before:
            start = int(before.read().split()[1])
        records = list(read_parquet(tmp_path / "a.parquet", options, BadRecords()))
        with open("/proc/self/io") as after:
            return list(records[3].values), int(after.read().split()[1]) - start

    count(ReadOptions())  # imports libraries
    names, num_bytes = count(ReadOptions())
    assert names == ["text", "label"] and num_bytes < 1_000_000
    names, num_bytes = count(ReadOptions(template="{image}: {text}"))
    assert names == ["text", "image", "label"] and num_bytes > 4_000_000
    # Without a known field all columns are named by the error.
    with_other_names = table.rename_columns(["words", "image", "label"])
    parquet.write_table(with_other_names, tmp_path / "a.parquet")
    assert count(ReadOptions())[0] == ["words", "image", "label"]
    assert count(ReadOptions(text_field="words"))[0] == ["words", "label"]
