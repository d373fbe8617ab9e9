"""Encodes batches in several processes, with the results in the order of the batches."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from highnoon.data.document import DataError, Document
from highnoon.data.tokens.encoding import EncodedBatch
from highnoon.tokenization import Tokenizer

# The processes are plain interpreters, not children of `multiprocessing`: those would execute the caller's
# script again if it has no `if __name__ == "__main__"`.
_START = (
    "import sys; sys.path[:] = {path!r}; from highnoon.data.preparation.encoding_worker import main; main()"
)
_AHEAD = 2


class WorkerDiedError(DataError):
    """A tokenizing process died; what was written before is kept."""


class EncodingPool:
    """Processes that encode batches of documents; a context manager.

    At most `num_workers + 2` batches are in progress, so memory does not grow with the source.

    Args:
        tokenizer: The tokenizer, pickled for every process.
        num_workers: The number of processes, at least 1.

    Raises:
        DataError: If the tokenizer cannot be pickled.
        WorkerDiedError: While encoding, if a process dies.
    """

    def __init__(self, tokenizer: Tokenizer, num_workers: int) -> None:
        try:
            packed = pickle.dumps(tokenizer)
        except Exception as error:
            raise DataError(
                f"{tokenizer!r} cannot be sent to other processes ({error}); set num_workers=1, "
                f"or define its class at the top of a module"
            ) from error
        self._num_workers = num_workers
        self._workers = [_Worker(packed) for _ in range(num_workers)]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._threads = concurrent.futures.ThreadPoolExecutor(num_workers)

    def encoded(
        self, batches: Iterable[Sequence[Document]]
    ) -> Iterator[tuple[Sequence[Document], EncodedBatch]]:
        """Yields each batch with its tokens, in order; prefetches a few batches."""
        under_way: collections.deque[tuple[Sequence[Document], concurrent.futures.Future[EncodedBatch]]]
        under_way = collections.deque()
        for batch in batches:
            under_way.append((batch, self._threads.submit(self._encode, batch)))
            if len(under_way) >= self._num_workers + _AHEAD:
                done, future = under_way.popleft()
                yield done, future.result()
        for done, future in under_way:
            yield done, future.result()

    def _encode(self, batch: Sequence[Document]) -> EncodedBatch:
        worker = self._free.get()
        try:
            return worker.encode(batch)
        finally:
            self._free.put(worker)

    def __enter__(self) -> EncodingPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()


class _Worker:
    """One process, used by one thread at a time."""

    def __init__(self, packed_tokenizer: bytes) -> None:
        # Its output is shown if it dies, and must not fill a pipe that nobody reads.
        self._printed = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            bufsize=1 << 16,
            # There are many processes: threads of each would compete for the same cores.
            env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
        )
        self._greeting = packed_tokenizer
        self._lock = threading.Lock()

    def encode(self, batch: Sequence[Document]) -> EncodedBatch:
        request = (
            [document.text for document in batch],
            [document.supervised for document in batch],
            [document.marks for document in batch],
            [document.split_hash for document in batch],
        )
        source, target = self._process.stdout, self._process.stdin
        assert source is not None and target is not None
        try:
            with self._lock:
                target.write(self._greeting)
                self._greeting = b""
                pickle.dump(request, target, protocol=pickle.HIGHEST_PROTOCOL)
                target.flush()
                result, error = pickle.load(source)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise WorkerDiedError(self._last_words()) from None
        if error is not None:
            raise error
        encoded: EncodedBatch = result
        return encoded

    def _last_words(self) -> str:
        code = self._process.wait()
        self._printed.seek(max(0, self._printed.seek(0, os.SEEK_END) - 2000))
        printed = self._printed.read().decode(errors="replace").strip()
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        return (
            f"a tokenizing process died with {reason}{': ' if printed else ''}{printed}; it may have run "
            f"out of memory: free memory or decrease num_workers, and resume"
        )

    def end(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                # The process that should read the rest has ended.
                continue
        self._printed.close()
