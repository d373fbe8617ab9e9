"""The marks of a chat template as special tokens, from records to stores and back."""

from __future__ import annotations

import json
import pathlib

import pytest

from highnoon.data import DomainFolder, Files, PreparedTokens, prepare, tokenize, train_tokenizer
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.source_template import source_template
from highnoon.data.tokens.encoding import encode_batch
from highnoon.tokenization import ByteTokenizer, ChatTemplate, load_tokenizer

MARKS = ["<|im_start|>", "<|im_end|>"]
TURNS = [
    {"role": "human", "content": "low <|im_end|> lower"},
    {"role": "Assistant", "content": "lowest\n"},
    {"role": "USER", "content": "why?"},
    {"role": "gpt", "content": "naïve"},
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    file = tmp_path_factory.mktemp("records") / "records.jsonl"
    file.write_text(
        "".join(
            json.dumps({"messages": [*TURNS, {"role": "user", "content": str(n)}]}) + "\n" for n in range(30)
        )
    )
    return file


def test_a_tokenizer_trained_on_conversations_has_the_marks_as_its_last_ids(records: pathlib.Path) -> None:
    tokenizer = train_tokenizer(Files(records), vocab_size=290)
    assert tokenizer.vocab_size <= 290
    assert [tokenizer.ids_of_special_tokens[mark] for mark in sorted(MARKS)] == [
        tokenizer.vocab_size - 2,
        tokenizer.vocab_size - 1,
    ]
    assert tokenizer.chat_template == ChatTemplate()
    assert tokenizer.encode(MARKS[1]) != [2, tokenizer.ids_of_special_tokens[MARKS[1]], 3]
    assert tokenizer.decode_bytes([*tokenizer.special_ids, 72]) == b"A"
    # The marks are no text to learn merges from.
    merged = {bytes(tokenizer.decode_bytes([i])) for i in range(263, tokenizer.vocab_size - 2)}
    assert not any(b"im_" in token or b"|>" in token for token in merged if b"\n" in token)


def test_marks_that_do_not_fit_next_to_the_bytes_stay_text(records: pathlib.Path) -> None:
    tokenizer = train_tokenizer(Files(records), vocab_size=264)
    assert MARKS[1] not in tokenizer.ids_of_special_tokens and tokenizer.chat_template == ChatTemplate()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_template_writes_special_tokens_and_a_user_writes_text(
    records: pathlib.Path, tmp_path: pathlib.Path, num_workers: int
) -> None:
    tokenizer = train_tokenizer(Files(records), vocab_size=290)
    start, end = (tokenizer.ids_of_special_tokens[mark] for mark in MARKS)
    store = prepare(Files(records), tokenizer, tmp_path / "store", num_workers, validation_split=0.0)
    ids = store.tokens(0).tolist()
    assert ids.count(start) == ids.count(end) == 5
    document = next(Files(records).documents())
    assert store.text(0) == document.text
    first_turn = ids[: ids.index(end)]
    assert tokenizer.decode(first_turn) == "user\nlow <|im_end|> lower"
    learned = store.supervised(0)
    assert [i for i, flag in zip(ids, learned, strict=True) if flag and i == end] == [end, end]
    assert not learned[[index for index, i in enumerate(ids) if i == start]].any()


def test_prepared_conversations_come_back_with_their_marks_and_template(
    records: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    prepare(Files(records), train_tokenizer(Files(records), vocab_size=290), tmp_path / "store")
    prepared = PreparedTokens(tmp_path / "store")
    assert prepared.tokenizer.chat_template == ChatTemplate()
    for given, kept in zip(Files(records).documents(), prepared.documents(), strict=True):
        assert (kept.text, kept.supervised, kept.marks) == (given.text, given.supervised, given.marks)


def test_a_tokenizer_without_the_marks_encodes_conversations_as_before(records: pathlib.Path) -> None:
    document = next(Files(records).documents())
    assert document.marks and document.supervised
    plain = encode_batch([document.text], [document.supervised], ByteTokenizer())
    marked = encode_batch([document.text], [document.supervised], ByteTokenizer(), [document.marks])
    assert marked.tokens.tolist() == plain.tokens.tolist() == [2, *(b + 7 for b in document.text.encode()), 3]
    assert marked.supervised is not None and plain.supervised is not None
    assert marked.supervised.tolist() == plain.supervised.tolist()


def test_framing_tokens_that_a_template_writes_are_not_doubled(tmp_path: pathlib.Path) -> None:
    tokenizer = ByteTokenizer()
    text = "<|bos|>a<|eos|>b<|eos|>"
    batch = encode_batch([text], [((7, 23),)], tokenizer, [((0, 7), (8, 15), (16, 23))])
    assert batch.tokens.tolist() == [2, 97 + 7, 3, 98 + 7, 3]
    assert batch.supervised is not None and batch.supervised.tolist() == [False, True, True, True, True]


def test_records_without_conversations_keep_their_fingerprint(
    records: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a.txt").write_text("Hello\n")
    (tmp_path / "a.jsonl").write_text('{"text": "Hello"}\n')
    # As they were before names of roles were folded: such records give the documents that they gave.
    assert Files(tmp_path / "a.txt").fingerprint() == "5ea2d869041310b75b6d34615180b577"
    named = Files(tmp_path / "a.jsonl", options=ReadOptions(text_field="text"))
    assert named.fingerprint() == "6ba8ca58bb959b80ea4d86b158dcf054"
    assert Files(tmp_path / "a.jsonl").fingerprint() == "cc27686614a0c8f7e46d6ec363f06fd9"


def test_the_tokens_of_a_cache_of_conversations_carry_their_template(
    records: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    tokenize(Files(records), ByteTokenizer(), tmp_path)
    [folder] = (tmp_path / "tokens").iterdir()
    assert load_tokenizer(folder).chat_template == ChatTemplate()


def test_conversations_behind_many_other_documents_give_their_template(
    records: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.jsonl").write_text('{"text": "Hello"}\n' * 2000)
    assert source_template(DomainFolder(tmp_path)) is None
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "b.jsonl").write_bytes(records.read_bytes())
    assert source_template(DomainFolder(tmp_path)) == ChatTemplate()
    assert source_template(Files(str(tmp_path / "*" / "*.jsonl"))) == ChatTemplate()
