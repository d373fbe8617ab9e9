"""A file of another encoding is read with `encoding`, and answered with a guess without it."""

from __future__ import annotations

import gzip
import json

import pytest

from highnoon.data import DataError, Files, ReadOptions, TextDataset, open_source
from highnoon.data.reading.encodings import likely_encodings, require_encoding
from highnoon.data.reading.transcoded import Transcoded

FRENCH = "Le café était fermé à Noël, où les élèves buvaient du thé glacé.\n" * 3
RUSSIAN = "Лиса бежала через холмы, пока солнце не село за реку.\n" * 3
JAPANESE = "狐は丘を越えて走り、太陽が川の向こうに沈んだ。\n" * 3
POLISH = "Zażółć gęślą jaźń, a potem wróć do domu przed świtem.\n" * 3


def _texts(path, **options):
    return [document.text for document in open_source(str(path), **options).documents()]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "latin-1"),
        (FRENCH + "“quoted” – 5 €", "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (FRENCH, "utf-16"),
        (FRENCH, "utf-16-le"),
        (JAPANESE, "utf-32"),
    ],
)
def test_text_is_read_exactly_and_the_guess_names_its_encoding(tmp_path, text, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert _texts(path, encoding=encoding) == [text]
    guesses = likely_encodings(path.read_bytes())
    assert any(text.encode(encoding).decode(guess) == text for guess in guesses), guesses


@pytest.mark.parametrize(("text", "encoding"), [(FRENCH, "cp1252"), (POLISH, "cp1250")])
def test_an_error_names_likely_encodings_and_the_option(tmp_path, text, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=r'not UTF-8 at byte \d+.*looks like cp125.*encoding="cp125.*--enc'):
        _texts(path)
    (tmp_path / "b.txt").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match=r'UTF-16.*encoding="utf-16" .--encoding utf-16.'):
        _texts(tmp_path / "b.txt")


def test_records_of_every_text_format_take_the_option(tmp_path):
    rows = [{"text": "café"}, {"text": "thé"}]
    files = {
        "a.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "a.json": json.dumps(rows, ensure_ascii=False),
        "a.csv": "text,n\ncafé,1\nthé,2\n",
        "a.tsv": "text\tn\ncafé\t1\nthé\t2\n",
    }
    for name, content in files.items():
        for encoding in ("latin-1", "utf-16"):
            (tmp_path / name).write_bytes(content.encode(encoding))
            assert _texts(tmp_path / name, encoding=encoding) == ["café", "thé"]
        (tmp_path / name).write_bytes(content.encode("latin-1"))
        with pytest.raises(DataError, match="--encoding"):
            _texts(tmp_path / name)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(files["a.jsonl"].encode("cp1252")))
    assert _texts(tmp_path / "b.jsonl.gz", encoding="cp1252") == ["café", "thé"]


def test_utf8_files_of_the_same_folder_are_read_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_bytes(FRENCH.encode())
    (tmp_path / "b.txt").write_bytes(FRENCH.encode("cp1252"))
    assert _texts(tmp_path / "*.txt", encoding="cp1252") == [FRENCH, FRENCH]


def test_nothing_is_replaced_where_bytes_are_not_of_the_encoding(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("é".encode("latin-1") + b"\x81")
    with pytest.raises(DataError, match="is not cp1252 near byte 1; name its encoding"):
        _texts(path, encoding="cp1252")
    path.write_bytes("café".encode("utf-16-le")[:-1])
    with pytest.raises(DataError, match="is not utf-16-le near byte"):
        _texts(path, encoding="utf-16-le")


def test_the_encoding_is_part_of_the_fingerprint_and_utf8_is_not(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(FRENCH.encode("latin-1"))
    plain = ReadOptions()
    assert ReadOptions(encoding="UTF8").describe() == plain.describe()
    assert Files(path, options=ReadOptions(encoding="latin-1")).fingerprint() != Files(path).fingerprint()


def test_an_unknown_encoding_is_refused():
    for name in ("utf-9", "base64", "rot13"):
        with pytest.raises(DataError, match="must be a text encoding of Python"):
            require_encoding(name)


def test_a_dataset_of_files_takes_the_option(tmp_path):
    (tmp_path / "a.txt").write_bytes(FRENCH.encode("latin-1"))
    dataset = TextDataset.from_files(str(tmp_path / "a.txt"), encoding="latin-1")
    assert next(dataset.source.documents()).text == FRENCH
    with pytest.raises(ValueError, match="did you mean `encoding`"):
        TextDataset.from_files(str(tmp_path / "a.txt"), encodng="latin-1")


def test_a_character_is_never_cut_between_two_reads(tmp_path):
    import io

    text = JAPANESE * 3000
    stream = io.BufferedReader(Transcoded(io.BytesIO(text.encode("utf-16-le")), "utf-16-le", "a"), 1000)
    assert stream.read().decode() == text
