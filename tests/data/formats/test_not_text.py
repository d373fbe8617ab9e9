"""Files that are no plain text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pathlib
import pickle
import tarfile
import zipfile

import pytest

from highnoon.data import DataError, Files
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources import files


def archive(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as packed:
            packed.writestr("a.txt", "text")
    else:
        with tarfile.open(fileobj=stream, mode="w") as bundle:
            bundle.addfile(tarfile.TarInfo("a.txt"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", b"%PDF-1.7\nwords", "a PDF"),
        ("a.md", b"\x89PNG\r\n\x1a\n", "an image"),
        ("a", archive("zip"), "a ZIP"),
        ("a.tar", archive("tar"), "a binary file"),
        ("a.bin", b"words\0words", "a binary file"),
        ("a.txt", gzip.compress(b"text", mtime=0), "a gzip file, not plain text; let its name end in .gz"),
        ("a.jsonl.xz", lzma.compress(b"text"), "an xz file, not plain text; decompress it"),
        ("a.bz2", bz2.compress(b"text"), "a bzip2 file"),
        ("a.dat", pickle.dumps(["text"]), "a pickle"),
        ("a.pkl", pickle.dumps(["text"], protocol=0), "a pickle"),
        ("a.txt", "text".encode("utf-16"), "UTF-16"),
        (
            "a.html",
            b"<p>text</p>",
            "markup, not plain text; convert it to plain text, or copy it to a name that ends in",
        ),
        ("a.XML", b"<a/>", "markup"),
        ("a.ipynb", b"{}", "a notebook"),
        ("a.html.gz", gzip.compress(b"<p>", mtime=0), "markup"),
        ("a.txt.gz", gzip.compress(b"%PDF-1.7", mtime=0), "a PDF"),
        ("a.rtf", b"{\\rtf1 text}", "markup"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_what_to_do(
    tmp_path: pathlib.Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for split in ("auto", "file", "line", "blank-line"):
        with pytest.raises(DataError, match=f"{name.replace('.', '[.]')} is {what}") as error:
            list(Files(tmp_path / name, split).documents())
        assert "\n" not in str(error.value)
    (tmp_path / "z.txt").write_text("fine")
    source = Files([tmp_path / name, tmp_path / "z.txt"], options=ReadOptions(skip_bad=True))
    assert [document.text for document in source.documents()] == ["fine"]
    assert source.bad_records.report()["reasons"]["not plain text"]["places"] == [f"{tmp_path}/{name}"]


@pytest.mark.parametrize("name", ["a.py", "a.csv.txt", "a.yaml", "README", "a.rst", "a.tex", "a.log"])
def test_other_names_are_text(tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / name).write_text("words <b>of</b> text")
    assert [document.text for document in Files(tmp_path / name).documents()] == ["words <b>of</b> text"]


def test_a_cache_made_of_a_refused_file_is_not_used(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "a.html"):
        (tmp_path / name).write_text("<p>text</p>")
    now = [Files(tmp_path / name).fingerprint() for name in ("a.txt", "a.html")]
    monkeypatch.setattr(files, "is_text_file", lambda path, encoding: True)
    before = [Files(tmp_path / name).fingerprint() for name in ("a.txt", "a.html")]
    assert [one == other for one, other in zip(now, before, strict=True)] == [True, False]
