"""Preparing a folder: equal bytes for any number of workers and any number of stops."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from highnoon.data import (
    DataError,
    Document,
    DocumentSource,
    Files,
    TokenStore,
    open_source,
    prepare,
    tokenize,
    train_tokenizer,
)
from highnoon.data.preparation.encoding_pool import EncodingPool, WorkerDiedError
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.tokens.encoding import encode_batch
from highnoon.data.tokens.statistics import source_statistics
from highnoon.data.tokens.token_store import DamagedStoreError
from highnoon.files.folder_lock import folder_lock
from highnoon.tokenization import ByteTokenizer, QWTTextTokenizer

NUM_DOCUMENTS = 90


class Numbered(DocumentSource):
    """Documents made from their numbers; some are supervised in part. Raises `stop` at number `stop_at`."""

    name = "numbered"

    def __init__(
        self,
        count: int = NUM_DOCUMENTS,
        stop_at: int | None = None,
        stop: type[BaseException] = SystemExit,
        first_learned: int = 30,
    ) -> None:
        self.count, self.stop_at, self.stop, self.first_learned = count, stop_at, stop, first_learned

    def documents(self) -> Iterator[Document]:
        for number in range(self.count):
            if number == self.stop_at:
                raise self.stop("stopped by the test")
            text = f"Document {number}: the café at noon. " * (1 + number % 7)
            learned = ((3, 8), (12, len(text))) if number >= self.first_learned and number % 3 == 0 else None
            yield Document(text, domain="ab"[number % 2], learned=learned)

    def _describe(self, digest: hashlib._Hash) -> None:  # type: ignore[name-defined]
        digest.update(str(self.count).encode())


@pytest.fixture(scope="module")
def bpe() -> QWTTextTokenizer:
    return QWTTextTokenizer().train_from_texts([d.text for d in Numbered().documents()], vocab_size=290)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("highnoon.data.preparation.fill_store._BATCH_CHARACTERS", 200)
    monkeypatch.setattr("highnoon.data.tokens.store_writer._COMMIT_BYTES", 500)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("small_batches")
def test_the_files_are_the_same_for_any_number_of_workers(
    tmp_path: pathlib.Path, bpe: QWTTextTokenizer
) -> None:
    for workers in (1, 2, 4):
        prepare(Numbered(), bpe, tmp_path / str(workers), num_workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "4")
    assert set(contents(tmp_path / "1")) == {
        "tokens.bin",
        "learned.bin",
        "lengths.bin",
        "num_bytes.bin",
        "split_hashes.bin",
        "domains.bin",
        "origins.bin",
        "tokenizer.json",
        "manifest.json",
    }


@pytest.mark.usefixtures("small_batches")
def test_what_is_supervised_is_kept_from_the_first_document_on(tmp_path: pathlib.Path) -> None:
    store = prepare(Numbered(), ByteTokenizer(), tmp_path, num_workers=1)
    for number, document in enumerate(Numbered().documents()):
        learned = encode_batch([document.text], [document.supervised], ByteTokenizer()).supervised
        expected = np.ones(store.lengths[number], np.bool_) if learned is None else learned
        assert np.array_equal(store.supervised(number), expected), number


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, DataError])
def test_a_preparation_stopped_again_and_again_gives_the_same_files(
    tmp_path: pathlib.Path, bpe: QWTTextTokenizer, stop: type[BaseException]
) -> None:
    prepare(Numbered(), bpe, tmp_path / "whole", num_workers=1)
    for index in (0, 1, 17, 31, 32, 60, 89):
        with pytest.raises(stop):
            prepare(Numbered(stop_at=index, stop=stop), bpe, tmp_path / "parts", num_workers=1)
        assert not (tmp_path / "parts" / "manifest.json").exists()
    prepare(Numbered(), bpe, tmp_path / "parts", num_workers=1)
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


@pytest.mark.usefixtures("small_batches")
def test_what_is_ready_can_be_read_and_stays_the_same(tmp_path: pathlib.Path, bpe: QWTTextTokenizer) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(Numbered(stop_at=60, stop=KeyboardInterrupt), bpe, tmp_path, num_workers=1)
    with pytest.raises(DataError, match=r"still being prepared.*: \d+ documents of numbered are"):
        TokenStore.open(tmp_path)
    with pytest.raises(DataError, match=r"from 1 to \d+, the documents of .* that are ready; received 90"):
        open_source(tmp_path, documents=90)
    # What lies beyond, as of a batch that is being written, is nobody's.
    for name in ("tokens.bin", "lengths.bin"):
        with (tmp_path / name).open("ab") as stream:
            stream.write(b"\1\2\3")
    source = open_source(tmp_path, documents=40)
    early = tokenize(source, bpe)
    assert early.folder == tmp_path and len(early) == 40
    expected = [document.text for document in itertools.islice(Numbered().documents(), 40)]
    assert [document.text for document in source.documents()] == expected
    whole = prepare(Numbered(), bpe, tmp_path, num_workers=1)
    later = TokenStore.open(tmp_path, documents=40)
    assert early.fingerprint == later.fingerprint != whole.fingerprint
    assert early.domain_names == later.domain_names
    for number in range(40):
        assert np.array_equal(early.tokens(number), later.tokens(number))
        assert np.array_equal(early.supervised(number), later.supervised(number))
        assert np.array_equal(later.tokens(number), whole.tokens(number))


def test_documents_are_counted_of_prepared_folders_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match="`documents` applies to folders that `highnoon data prepare`"):
        open_source(tmp_path / "a.txt", documents=1)


@pytest.mark.usefixtures("small_batches")
def test_a_stopped_preparation_does_not_encode_again_what_it_kept(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"stopped; \d+ documents are stored in .*resumes there"):
        prepare(Numbered(stop_at=80, stop=KeyboardInterrupt), ByteTokenizer(), tmp_path / "a", num_workers=1)
    kept = json.loads((tmp_path / "a" / "progress.json").read_text())["documents"]
    assert kept > 60
    encoded: list[str] = []
    encode = ByteTokenizer.encode_packed
    monkeypatch.setattr(
        ByteTokenizer, "encode_packed", lambda self, texts: (encoded.extend(texts), encode(self, texts))[1]
    )
    monkeypatch.setattr(Numbered, "documents", lambda self: (Document("plain", id=str(n)) for n in range(90)))
    prepare(Numbered(), ByteTokenizer(), tmp_path / "a", num_workers=1)
    assert len(encoded) == NUM_DOCUMENTS - kept


@pytest.mark.usefixtures("small_batches")
def test_what_was_written_beyond_the_journal_is_cut_off(tmp_path: pathlib.Path) -> None:
    prepare(Numbered(), ByteTokenizer(), tmp_path / "whole", num_workers=1)
    with pytest.raises(SystemExit):
        prepare(Numbered(stop_at=50), ByteTokenizer(), tmp_path / "a", num_workers=1)
    for name in ("tokens.bin", "lengths.bin", "learned.bin"):
        with (tmp_path / "a" / name).open("ab") as stream:
            stream.write(b"torn" * 100_000)
    prepare(Numbered(), ByteTokenizer(), tmp_path / "a", num_workers=1)
    assert contents(tmp_path / "whole") == contents(tmp_path / "a")


@pytest.mark.usefixtures("small_batches")
def test_a_lost_byte_of_unfinished_work_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(Numbered(stop_at=50, stop=KeyboardInterrupt), ByteTokenizer(), tmp_path, num_workers=1)
    (tmp_path / "tokens.bin").write_bytes(b"x")
    with pytest.raises(DamagedStoreError, match=r"tokens\.bin should have at least \d+ bytes"):
        prepare(Numbered(), ByteTokenizer(), tmp_path, num_workers=1)


def test_a_finished_preparation_is_opened_and_not_made_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(Numbered(), ByteTokenizer(), tmp_path, validation_split=0.2)
    monkeypatch.setattr(Numbered, "documents", lambda self: pytest.fail("read again"))
    assert np.array_equal(prepare(Numbered(), ByteTokenizer(), tmp_path).lengths, first.lengths)
    opened = TokenStore.open(tmp_path)
    assert (opened.name, opened.validation_split, opened.text(5)) == ("numbered", 0.2, first.text(5))
    assert opened.tokenizer.fingerprint() == ByteTokenizer().fingerprint()
    assert TokenStore.open(tmp_path, validation_split=0.0).is_validation.sum() == 0


def test_a_folder_of_something_else_is_an_error(tmp_path: pathlib.Path, bpe: QWTTextTokenizer) -> None:
    prepare(Numbered(), ByteTokenizer(), tmp_path / "a")
    with pytest.raises(DataError, match="has the tokens of another source or tokenizer"):
        prepare(Numbered(), bpe, tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"is not empty and has no tokens \(thesis.txt\)"):
        prepare(Numbered(), bpe, tmp_path / "b")
    with folder_lock(tmp_path / "c"), pytest.raises(DataError, match="another process is preparing"):
        prepare(Numbered(), bpe, tmp_path / "c")
    with pytest.raises(DataError, match="`num_workers` must be at least 1"):
        prepare(Numbered(), bpe, tmp_path / "d", num_workers=0)


@pytest.mark.usefixtures("small_batches")
def test_unfinished_work_of_another_source_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(Numbered(stop_at=50, stop=KeyboardInterrupt), ByteTokenizer(), tmp_path, num_workers=1)
    with pytest.raises(DataError, match="unfinished preparation of another source or tokenizer"):
        prepare(Numbered(count=91), ByteTokenizer(), tmp_path, num_workers=1)
    shrunk = Numbered()
    shrunk.documents = lambda: iter([Document("a")])  # type: ignore[method-assign]
    with pytest.raises(DataError, match="must be the same each time it is read"):
        prepare(shrunk, ByteTokenizer(), tmp_path, num_workers=1)


@pytest.mark.usefixtures("small_batches")
def test_the_cache_takes_up_a_stopped_call(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tokenize(Numbered(stop_at=50, stop=KeyboardInterrupt), ByteTokenizer(), tmp_path, num_workers=1)
    assert [path.name[0] for path in (tmp_path / "tokens").iterdir()] == ["."]
    store = tokenize(Numbered(), ByteTokenizer(), tmp_path, num_workers=1)
    assert list((tmp_path / "tokens").iterdir()) == [store.folder]
    assert [store.text(number) for number in range(90)] == [d.text for d in Numbered().documents()]


class Deadly(ByteTokenizer):
    """Ends the process that uses it."""

    def encode_packed(self, texts):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGKILL)


class Failing(ByteTokenizer):
    def encode_packed(self, texts):  # type: ignore[no-untyped-def]
        raise DataError("cannot encode this")


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], object]:
    """Gives this module a name that another process can import it by."""

    def make(kind: type) -> object:
        monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
        monkeypatch.setitem(sys.modules, pathlib.Path(__file__).stem, sys.modules[__name__])
        monkeypatch.setattr(kind, "__module__", pathlib.Path(__file__).stem)
        return kind()

    return make


def test_a_worker_that_dies_is_an_error_with_its_reason(importable: Callable[[type], object]) -> None:
    tokenizer = importable(Deadly)
    with EncodingPool(tokenizer, 1) as pool:  # type: ignore[arg-type]
        with pytest.raises(WorkerDiedError, match="died with signal 9; it may have run out of memory"):
            list(pool.encoded([[Document("a")], [Document("b")]]))


def test_an_error_in_a_worker_is_the_same_error_here(importable: Callable[[type], object]) -> None:
    tokenizer = importable(Failing)
    with EncodingPool(tokenizer, 1) as pool, pytest.raises(DataError, match="cannot encode this"):  # type: ignore[arg-type]
        list(pool.encoded([[Document("a")]]))


def test_a_tokenizer_that_cannot_be_sent_is_an_error_that_says_so() -> None:
    class Local(ByteTokenizer):
        pass

    with pytest.raises(DataError, match="cannot be sent to other processes .* set num_workers=1"):
        EncodingPool(Local(), 1)


def test_a_worker_imports_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys, highnoon.data.preparation.encoding_worker, highnoon.tokenization\n"
        "print([name for name in ('tensorflow', 'keras', 'torch', 'jax') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


KILLED = """
import pathlib, sys
sys.path.insert(0, {tests!r})
from test_prepare import Numbered
from highnoon.data import prepare
from highnoon.data.preparation import fill_store
from highnoon.data.tokens import store_writer
from highnoon.tokenization import ByteTokenizer
fill_store._BATCH_CHARACTERS = 2000
store_writer._COMMIT_BYTES = 10_000
prepare(Numbered(20_000), ByteTokenizer(), {folder!r}, num_workers=2)
"""


@pytest.mark.slow
def test_a_preparation_that_is_killed_continues_to_the_same_files(tmp_path: pathlib.Path) -> None:
    def start(folder: pathlib.Path) -> subprocess.Popen:
        code = KILLED.format(tests=str(pathlib.Path(__file__).parent), folder=str(folder))
        return subprocess.Popen([sys.executable, "-c", code])

    assert start(tmp_path / "whole").wait() == 0
    num_kills = 0
    while True:
        process = start(tmp_path / "parts")
        journal = tmp_path / "parts" / "progress.json"
        before = journal.read_text() if journal.exists() else ""
        while process.poll() is None and (not journal.exists() or journal.read_text() == before):
            time.sleep(0.01)
        time.sleep(0.1)
        if num_kills == 3 or process.poll() is not None:
            assert process.wait() == 0
            break
        process.kill()
        process.wait()
        num_kills += 1
    assert num_kills >= 2
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def rows_file(folder: pathlib.Path, *lines: str) -> pathlib.Path:
    (folder / "a.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder / "a.jsonl"


ROWS = [json.dumps({"text": f"row {number} of a file"}) for number in range(40)]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("repair", ["repair", "skip"])
def test_a_bad_row_can_be_repaired_in_the_same_folder(tmp_path: pathlib.Path, repair: str) -> None:
    file = rows_file(tmp_path, *ROWS, "not JSON")
    with pytest.raises(DataError, match="not JSON"):
        prepare(Files(file), ByteTokenizer(), tmp_path / "out", num_workers=1)
    assert json.loads((tmp_path / "out" / "progress.json").read_text())["documents"]
    if repair == "repair":
        rows_file(tmp_path, *ROWS)
    source = Files(file, options=ReadOptions(skip_bad=repair == "skip"))
    assert len(prepare(source, ByteTokenizer(), tmp_path / "out", num_workers=1)) == 40
    prepare(source, ByteTokenizer(), tmp_path / "whole", num_workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.usefixtures("small_batches")
def test_a_fault_that_passes_by_itself_costs_no_work(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError):
        prepare(Numbered(stop_at=80, stop=DataError), ByteTokenizer(), tmp_path, num_workers=1)
    kept = json.loads((tmp_path / "progress.json").read_text())["documents"]
    with pytest.raises(KeyboardInterrupt):
        prepare(Numbered(stop_at=80, stop=KeyboardInterrupt), ByteTokenizer(), tmp_path, num_workers=1)
    assert json.loads((tmp_path / "progress.json").read_text())["documents"] == kept > 60
    # The fault is over: what another source would find is unfinished work again.
    with pytest.raises(DamagedStoreError, match="unfinished preparation of another source"):
        prepare(Numbered(count=91), ByteTokenizer(), tmp_path, num_workers=1)


def test_where_nothing_is_left_the_error_says_why(tmp_path: pathlib.Path) -> None:
    source = Files(rows_file(tmp_path, "not JSON"), options=ReadOptions(skip_bad=True))
    said = rf"\(1 skipped: not JSON 1 \({tmp_path}/a.jsonl:1\)\)"
    with pytest.raises(DataError, match=f"has no documents {said}; use a source"):
        prepare(source, ByteTokenizer(), tmp_path / "out")
    with pytest.raises(DataError, match=f"has no documents {said}; use a source"):
        source_statistics(source)
    with pytest.raises(DataError, match=f"no text to train a tokenizer on .* {said}; add documents"):
        train_tokenizer(source, 300)
