"""Parquet, read batch by batch so that no row group is held whole as rows."""

from __future__ import annotations

from collections.abc import Iterator

from highnoon.data.bad_rows import BadRowError, BadRows
from highnoon.data.formats.file_row import FileRow
from highnoon.data.opening import is_packed, local_file, open_bytes
from highnoon.data.read_options import ReadOptions
from highnoon.data.remote import FilePath

_BATCH_ROWS = 256


def read_parquet(path: FilePath, options: ReadOptions, bad: BadRows) -> Iterator[FileRow]:
    """Yields the rows of a Parquet file; a packed one is unpacked into a temporary file first.

    Raises:
        ImportError: pyarrow is not installed.
        BadRowError: the file is damaged, or is no Parquet.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError(f"{path} needs pyarrow: pip install highnoon[arrow]") from None
    opened = local_file(path) if is_packed(path) else open_bytes(path)
    number = 0
    with opened as file:
        try:
            with pyarrow.parquet.ParquetFile(file, pre_buffer=False) as table:
                for group in range(table.num_row_groups):
                    for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group]):
                        for values in batch.to_pylist():
                            number += 1
                            yield FileRow(values, f"{path} row {number}", number)
        except (pyarrow.ArrowException, OSError) as error:
            place = f"{path} row {number + 1}"
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadRowError(f"{place}: damaged, or no Parquet file ({reason}); fetch or write it again",
                              "rest of a damaged file", place) from error
