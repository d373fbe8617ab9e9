"""Parquet files as rows."""

from __future__ import annotations

import gzip
import pathlib
import sys

import pytest

from highnoon.data.bad_rows import BadRowError, BadRows
from highnoon.data.formats.parquet import read_parquet
from highnoon.data.read_options import ReadOptions

pyarrow = pytest.importorskip("pyarrow", reason="the extra arrow is not installed")


def write(file: pathlib.Path, rows: int) -> pathlib.Path:
    from pyarrow import parquet

    turns = [[{"role": "user", "content": f"{number}"}] for number in range(rows)]
    table = pyarrow.table({"text": [f"row {number}" for number in range(rows)], "messages": turns})
    parquet.write_table(table, file, row_group_size=300)
    return file


def test_rows_of_all_groups_come_in_order(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.parquet", 1000)
    rows = list(read_parquet(file, ReadOptions(), BadRows()))
    assert [row.values["text"] for row in rows] == [f"row {number}" for number in range(1000)]
    assert (rows[16].place, rows[16].number) == (f"{file} row 17", 17)
    assert rows[3].values["messages"] == [{"role": "user", "content": "3"}]


def test_a_packed_file_is_the_same(tmp_path: pathlib.Path) -> None:
    file = write(tmp_path / "a.parquet", 10)
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress(file.read_bytes()))
    rows = [list(read_parquet(path, ReadOptions(), BadRows())) for path in (file, tmp_path / "b.parquet.gz")]
    assert [row.values for row in rows[0]] == [row.values for row in rows[1]]
    assert rows[1][0].place == f"{tmp_path}/b.parquet.gz row 1"


@pytest.mark.parametrize("damage", ["cut", "text", "middle"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: pathlib.Path, damage: str) -> None:
    file = write(tmp_path / "a.parquet", 1000)
    data = bytearray(file.read_bytes())
    if damage == "middle":
        data[4:4000] = bytes(3996)
    file.write_bytes({"cut": data[:-100], "text": b"text" * 99, "middle": data}[damage])
    with pytest.raises(BadRowError, match=r"a\.parquet row 1: damaged, or no Parquet file"):
        list(read_parquet(file, ReadOptions(), BadRows()))


def test_without_the_library_the_error_names_the_extra(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install highnoon\[arrow\]"):
        list(read_parquet(tmp_path / "a.parquet", ReadOptions(), BadRows()))
