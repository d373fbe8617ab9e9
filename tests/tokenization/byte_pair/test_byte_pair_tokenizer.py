"""The trainable tokenizer: exact round trips, special tokens, training, files."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle
import random
import subprocess
import sys

import pytest
from tokenizers import Tokenizer as Engine

from highnoon.tokenization import ByteTokenizer, QWTTextTokenizer, TokenizerError

WORDS = ["the", "old", "lighthouse", "keeper", "naïve", "日本", "lights", "a", "lamp,", "every\n", "night."]


def sample_texts(seed: int, count: int = 60) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(WORDS, k=20)) for _ in range(count)]


def random_text(chooser: random.Random) -> str:
    def character() -> str:
        low, high = chooser.choice([(0, 128), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x110000)])
        return chr(chooser.randrange(low, high))

    return "".join(chooser.choice(["", " ", "\n\t"]) + character() for _ in range(chooser.randrange(40)))


@pytest.fixture(scope="module")
def trained() -> QWTTextTokenizer:
    return QWTTextTokenizer().train_from_texts(sample_texts(0), vocab_size=300)


def test_any_text_round_trips(trained: QWTTextTokenizer) -> None:
    chooser = random.Random(1)
    for _ in range(500):
        text = random_text(chooser)
        assert trained.decode(trained.encode(text)) == text


def test_any_bytes_round_trip(trained: QWTTextTokenizer) -> None:
    chooser = random.Random(2)
    for _ in range(500):
        data = random_text(chooser).encode() + chooser.randbytes(chooser.randrange(20)) + b"the keeper"
        assert trained.decode_bytes(trained.encode_bytes(data)) == data


def test_bytes_that_are_text_have_the_ids_of_the_text(trained: QWTTextTokenizer) -> None:
    text = "the lighthouse keeper, naïve"
    assert trained.encode_bytes(text.encode()) == trained.encode(text, add_special_tokens=False)


def test_untrained_tokens_are_bytes() -> None:
    tokenizer = QWTTextTokenizer()
    assert tokenizer.vocab_size == 263
    assert tokenizer.encode_bytes(bytes(range(256))) == list(range(7, 263))
    assert tokenizer.fingerprint() == ByteTokenizer().fingerprint()


def test_special_ids_are_those_documented(trained: QWTTextTokenizer) -> None:
    ids = (trained.pad_token_id, trained.unk_token_id, trained.bos_token_id, trained.eos_token_id)
    assert ids == (0, 1, 2, 3)
    names = json.loads(trained.to_json())["model"]["vocab"]
    assert list(names)[:7] == ["<|pad|>", "<|unk|>", "<|bos|>", "<|eos|>", "<|sep|>", "<|cls|>", "<|mask|>"]


def test_the_text_of_a_special_token_is_plain_text(trained: QWTTextTokenizer) -> None:
    text = "a<|eos|>b <|bos|><|pad|> é<|eos|>"
    ids = trained.encode(text, add_special_tokens=False)
    assert min(ids) >= 7
    assert trained.decode(ids) == text


def test_decoding_writes_special_tokens_only_when_asked(trained: QWTTextTokenizer) -> None:
    ids = trained.encode("a lamp")
    assert trained.decode(ids) == "a lamp"
    assert trained.decode(ids, skip_special_tokens=False) == "<|bos|>a lamp<|eos|>"


def test_training_shortens_text_it_has_seen(trained: QWTTextTokenizer) -> None:
    text = " ".join(WORDS)
    assert len(trained.encode(text)) < len(QWTTextTokenizer().encode(text)) / 2


def test_training_keeps_within_its_vocabulary_and_every_id_is_used(trained: QWTTextTokenizer) -> None:
    assert QWTTextTokenizer(300).train_from_texts(sample_texts(0)).vocab_size == 300
    few = QWTTextTokenizer(32000).train_from_texts(["abab" * 10])
    assert 263 < few.vocab_size < 300
    assert [few.decode_bytes([i]) for i in range(263, few.vocab_size)][0] == b"ab"


def test_training_does_not_depend_on_the_order_of_texts() -> None:
    texts = sample_texts(3)
    first = QWTTextTokenizer().train_from_texts(texts, vocab_size=400)
    second = QWTTextTokenizer().train_from_texts(texts[::-1], vocab_size=400)
    assert first.fingerprint() == second.fingerprint()


def test_training_is_the_same_in_another_process(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("\n".join(sample_texts(4)), encoding="utf-8")
    program = (
        "import sys; from highnoon.tokenization import QWTTextTokenizer as T; "
        "print(T().train(sys.argv[1], vocab_size=400).fingerprint())"
    )
    command = [sys.executable, "-c", program, str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == QWTTextTokenizer().train([file], vocab_size=400).fingerprint()


def test_training_replaces_what_was_learned_before() -> None:
    tokenizer = QWTTextTokenizer().train_from_texts(["xyxy" * 9], vocab_size=280)
    before = tokenizer.encode("xyxyxyxy")
    retrained = tokenizer.train_from_texts(sample_texts(5), vocab_size=280)
    assert retrained is tokenizer
    assert len(tokenizer.encode("xyxyxyxy")) > len(before)
    assert tokenizer.fingerprint() == QWTTextTokenizer().train_from_texts(sample_texts(5), 280).fingerprint()


def test_a_pair_below_min_frequency_is_not_merged() -> None:
    tokenizer = QWTTextTokenizer().train_from_texts(["ab ab ab", "cd cd"], vocab_size=400, min_frequency=3)
    assert len(tokenizer.encode("ab", add_special_tokens=False)) == 1
    assert len(tokenizer.encode("cd", add_special_tokens=False)) == 2


@pytest.mark.parametrize("place", ["folder", "file.json"])
def test_saving_and_loading_changes_nothing(
    trained: QWTTextTokenizer, tmp_path: pathlib.Path, place: str
) -> None:
    file = trained.save(tmp_path / place)
    assert file == (tmp_path / place if place.endswith(".json") else tmp_path / place / "tokenizer.json")
    assert list(file.parent.iterdir()) == [file]
    for loaded in (QWTTextTokenizer.load(tmp_path / place), QWTTextTokenizer(model_path=tmp_path / place)):
        assert loaded.fingerprint() == trained.fingerprint()
        assert loaded.encode(sample_texts(6)[0]) == trained.encode(sample_texts(6)[0])


def test_the_file_gives_the_same_ids_to_the_hugging_face_library(trained: QWTTextTokenizer) -> None:
    engine = Engine.from_str(trained.to_json())
    for text in sample_texts(7):
        assert engine.encode(text).ids == trained.encode(text, add_special_tokens=False)


def test_copies_and_pickles_encode_alike(trained: QWTTextTokenizer) -> None:
    expected = trained.encode("the lamp")
    assert copy.deepcopy(trained).encode("the lamp") == expected
    assert pickle.loads(pickle.dumps(trained)).encode("the lamp") == expected


def test_batches_equal_single_texts(trained: QWTTextTokenizer) -> None:
    texts = sample_texts(8)
    assert trained.batch_encode(texts) == [trained.encode(text) for text in texts]
    assert trained.encode_documents(texts) == trained.batch_encode(texts)
    assert trained.batch_decode(trained.batch_encode(texts)) == texts


def test_bad_arguments_are_one_line_errors(trained: QWTTextTokenizer, tmp_path: pathlib.Path) -> None:
    with pytest.raises(TokenizerError, match="`vocab_size` must be at least 263"):
        QWTTextTokenizer(vocab_size=262)
    with pytest.raises(TokenizerError, match="`vocab_size` must be at least 263"):
        trained.train_from_texts(["a"], vocab_size=10)
    with pytest.raises(TokenizerError, match="`min_frequency` must be at least 1"):
        trained.train_from_texts(["a"], min_frequency=0)
    with pytest.raises(TokenizerError, match="received none"):
        QWTTextTokenizer().train_from_texts([])
    with pytest.raises(TokenizerError, match="cannot read .*missing.txt"):
        QWTTextTokenizer().train([tmp_path / "missing.txt"])
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(TokenizerError, match="latin.txt is not UTF-8"):
        QWTTextTokenizer().train([tmp_path / "latin.txt"])
    with pytest.raises(TokenizerError, match="no tokenizer at"):
        QWTTextTokenizer.load(tmp_path)
    with pytest.raises(TokenizerError, match=r"ids must be in \[0, vocab_size=300\); received 300"):
        trained.decode([5, 300])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match="not a HighNoon tokenizer"):
        QWTTextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match="is not JSON"):
        QWTTextTokenizer.load(tmp_path)


def test_failed_training_leaves_the_tokenizer_as_it_was() -> None:
    tokenizer = QWTTextTokenizer().train_from_texts(sample_texts(0), vocab_size=300)
    before = tokenizer.fingerprint()
    with pytest.raises(TokenizerError):
        tokenizer.train_from_texts(iter(()))
    assert tokenizer.fingerprint() == before
