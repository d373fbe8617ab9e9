"""Text that reads like a special token stays text."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from highnoon.tokenization import ByteTokenizer, PretrainedTokenizer, QWTTextTokenizer

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL = ["<unk>", "<s>", "</s>"]


def sentence_pieces(model: models.Model) -> Tokenizer:
    engine = Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    engine.add_special_tokens(SPECIAL)
    return engine


def unigram() -> Tokenizer:
    pieces = [*SPECIAL, *BYTES, "▁", "a", "▁a", "s"]
    return sentence_pieces(models.Unigram([(piece, -1.0) for piece in pieces], 0, byte_fallback=True))


def merges_to_a_special_name() -> Tokenizer:
    pieces = [*SPECIAL, *BYTES, "▁", "<", "/", "s", ">", "</", "</s"]
    vocab = {piece: place for place, piece in enumerate(pieces)}
    return sentence_pieces(
        models.BPE(
            vocab=vocab, merges=[("<", "/"), ("</", "s"), ("</s", ">")], unk_token="<unk>", byte_fallback=True
        )
    )


def whole_words(is_special: bool) -> Tokenizer:
    vocab = {word: place for place, word in enumerate([*SPECIAL, "a"])}
    engine = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.add_tokens([AddedToken(name, special=is_special) for name in SPECIAL])
    return engine


def word_pieces() -> Tokenizer:
    pieces = ["[UNK]", "[CLS]", "[SEP]", "[", "##S", "##E", "##P", "##]", "a"]
    engine = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return engine


def ignoring_merges() -> Tokenizer:
    vocab = {piece: i for i, piece in enumerate(["</s>", "<", "/", "s", ">", "a", "Ġ"])}
    engine = Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.add_special_tokens(["</s>"])
    return engine


ENGINES = {
    "Unigram": unigram,
    "BPE that merges to a name": merges_to_a_special_name,
    "BPE that ignores merges": ignoring_merges,
    "words": lambda: whole_words(is_special=True),
    "words, not marked special": lambda: whole_words(is_special=False),
    "word pieces": word_pieces,
}


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
def test_the_name_of_a_special_token_in_a_text_is_never_its_id(make):
    engine = make()
    tokenizer = PretrainedTokenizer(engine.to_str())
    special = tokenizer.special_ids - {tokenizer.unk_token_id}
    for name in (engine.id_to_token(token_id) for token_id in special):
        for text in (name, f"a {name}", f"{name} a", f"a{name}a", name * 2):
            assert not special & set(tokenizer.encode(text, add_special_tokens=False))
            assert not special & set(tokenizer.encode_packed([text])[0].tolist())
    assert tokenizer.encode("a")[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
def test_other_text_has_the_ids_that_it_had(make):
    tokenizer = PretrainedTokenizer(make().to_str())
    for text in ("a", "a a", "aa s a", "s/ <"):
        assert tokenizer.encode(text, add_special_tokens=False) == tokenizer._engine.encode(text).ids


def test_a_unigram_text_comes_back_with_the_names_in_it():
    tokenizer = PretrainedTokenizer(unigram().to_str())
    for text in ("a </s> a", "<s></s>", "</s"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    "tokenizer",
    [ByteTokenizer(), QWTTextTokenizer().train_from_texts(["<|eos|> <|bos|>"] * 99, vocab_size=280)],
)
def test_highnoon_tokenizers_keep_names_as_text(tokenizer):
    text = "a<|eos|><|bos|> <|pad|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert not tokenizer.special_ids & set(ids) and tokenizer.decode(ids) == text


@pytest.mark.parametrize("num_more", range(4))
def test_a_byte_never_changes_text_that_was_decoded_before(num_more):
    tokenizer = PretrainedTokenizer(unigram().to_str())
    ids = [tokenizer._engine.token_to_id(f"<0x{byte:02X}>") for byte in b"ok\xe2\x82\xff\xe2\x82\xac"]
    assert tokenizer.decode(ids) == "ok\ufffd\ufffd€"
    assert tokenizer.decode(ids[: 2 + num_more]).rstrip("\ufffd") == "ok"


def test_the_definition_and_so_the_fingerprint_stay():
    definition = unigram().to_str()
    tokenizer = PretrainedTokenizer(definition)
    tokenizer.encode("</s>")
    assert json.loads(tokenizer.to_json()) == json.loads(definition)
