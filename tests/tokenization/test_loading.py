"""Each kind of tokenizer comes back as itself."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import tokenizers
from tokenizers import models

import highnoon
from highnoon.tokenization import (
    ByteTokenizer,
    PretrainedTokenizer,
    QWTTextTokenizer,
    TokenizerError,
    load_tokenizer,
)


def test_each_kind_loads_as_itself(tmp_path: pathlib.Path) -> None:
    trained = QWTTextTokenizer().train_from_texts(["abab"], vocab_size=264)
    for tokenizer in (trained, ByteTokenizer()):
        tokenizer.save(tmp_path)
        loaded = load_tokenizer(tmp_path)
        assert type(loaded) is type(tokenizer)
        assert loaded.fingerprint() == tokenizer.fingerprint()
    tokenizers.Tokenizer(models.BPE({"a": 0, "</s>": 1}, [])).save(str(tmp_path / "other.json"))
    assert isinstance(load_tokenizer(tmp_path / "other.json"), PretrainedTokenizer)


def test_an_edited_definition_is_not_taken_for_ours(tmp_path: pathlib.Path) -> None:
    file = QWTTextTokenizer().train_from_texts(["abab"], vocab_size=264).save(tmp_path)
    file.write_text(file.read_text(encoding="utf-8").replace('"ab": 263', '"ab": 264'), encoding="utf-8")
    assert isinstance(load_tokenizer(file), PretrainedTokenizer)


def test_bad_paths_are_one_line_errors(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TokenizerError, match="no tokenizer at .*missing"):
        load_tokenizer(tmp_path / "missing")
    (tmp_path / "tokenizer.json").write_text("not json")
    with pytest.raises(TokenizerError, match="is not JSON"):
        load_tokenizer(tmp_path)


def test_the_name_of_a_published_tokenizer_without_its_files_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("gpt2", "openai-community/gpt2"):
        with pytest.raises(TokenizerError) as caught:
            load_tokenizer(name)
        told = str(caught.value)
        assert f"hf download {name} tokenizer.json --local-dir {name}." in told and "\n" not in told
        assert "`byte`" in told and "`bpe`" in told
    for path in ("./gpt2", "tokenizers/gpt2/a", "tokenizer.json", tmp_path / "gpt2"):
        with pytest.raises(TokenizerError, match="the folder that contains one$"):
            load_tokenizer(path)


def test_the_package_exports_it() -> None:
    assert highnoon.load_tokenizer is load_tokenizer
    assert highnoon.QWTTextTokenizer is QWTTextTokenizer


def test_importing_loads_neither_tensorflow_nor_tokenizers() -> None:
    program = (
        "import sys, highnoon.tokenization, highnoon.data; "
        "heavy = {'tensorflow', 'keras', 'tokenizers', 'datasets', 'tensorflow_datasets'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
