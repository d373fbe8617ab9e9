"""Decompresses Zstandard; unlike the library's own reader, raises an error if the file is truncated."""

from __future__ import annotations

import io
from typing import IO, Any

# A block of four bytes expands to at most 128 KiB: this many bytes give 64 MiB in the worst case.
_INPUT_BYTES = 1 << 11
_OUTPUT_BYTES = 1 << 15


class ZstdStream(io.RawIOBase):
    """The content of consecutive Zstandard frames.

    Memory is bounded, however far the frames expand.

    Args:
        packed: The compressed stream.
        name: The name of the file, for errors.

    Raises:
        ImportError: If the extra `zstd` is not installed.
        EOFError: While reading, if a frame is damaged or incomplete.
    """

    def __init__(self, packed: IO[bytes], name: str) -> None:
        try:
            import zstandard
        except ImportError:
            raise ImportError(f"{name} needs Zstandard: pip install highnoon[zstd]") from None
        self._library: Any = zstandard
        self._packed = packed
        self._frame: Any = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._packed.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            if not self._unpack_some():
                return 0
        size = min(len(buffer), len(self._output))
        buffer[:size] = self._output[:size]
        self._output = self._output[size:]
        return size

    def _unpack_some(self) -> bool:
        """Decompresses some bytes; returns False at the end of the file."""
        self._input = self._input or self._packed.read(_INPUT_BYTES)
        if not self._input:
            if self._frame is not None:
                raise EOFError("the last Zstandard frame is incomplete")
            return False
        self._frame = self._frame or self._library.ZstdDecompressor().decompressobj(write_size=_OUTPUT_BYTES)
        try:
            self._output = memoryview(self._frame.decompress(self._input))
        except self._library.ZstdError as error:
            raise EOFError(str(error)) from error
        self._input = self._frame.unused_data if self._frame.eof else b""
        self._frame = None if self._frame.eof else self._frame
        return True
