"""KerasHub's tokenizers as ours."""

from __future__ import annotations

import json

import keras_hub
import pytest

from highnoon.tokenization import BytePairTokenizer, ByteTokenizer, TokenizerError, load_tokenizer
from highnoon.tokenization.keras_hub_tokenizer import as_tokenizer

TEXTS = [
    "the sun at noon",
    "It's 12:30,\n\n  the moon's 光 is naïve!",
    "",
    "  two  spaces\t",
    "a<|endoftext|>b",
]


def gpt2(**options):
    model = json.loads(BytePairTokenizer(300).train_from_texts(TEXTS[:-1], min_frequency=1).to_json())[
        "model"
    ]
    pieces = [piece for piece in model["vocab"] if not piece.startswith("<|")]
    vocabulary = {piece: index for index, piece in enumerate(["<|endoftext|>", *pieces])}
    merges = [" ".join(merge) for merge in model["merges"]]
    return keras_hub.models.GPT2Tokenizer(vocabulary, merges, **options)


def test_a_byte_pair_tokenizer_has_the_same_ids_and_is_saved(tmp_path):
    as_tokenizer(gpt2()).save(tmp_path)
    theirs, ours = gpt2(), load_tokenizer(tmp_path)
    for text in TEXTS[:-1]:
        ids = [int(token_id) for token_id in theirs(text)]
        assert ours.encode(text, add_special_tokens=False) == ids and ours.decode(ids) == text
    assert (ours.vocab_size, ours.eos_token_id) == (theirs.vocabulary_size(), theirs.end_token_id)
    assert ours.eos_token_id not in ours.encode(TEXTS[-1], add_special_tokens=False)
    assert any("Ġ" in piece and len(piece) > 2 for piece in theirs.get_vocabulary())  # merges were tried


def test_what_is_ours_already_stays():
    ours = ByteTokenizer()
    assert as_tokenizer(ours) is ours and as_tokenizer(None) is None


def test_others_are_refused_with_what_to_give():
    words = keras_hub.tokenizers.WordPieceTokenizer(["[UNK]", "a"])
    with pytest.raises(
        TokenizerError, match="received a WordPieceTokenizer. Give the published tokenizer.json"
    ):
        as_tokenizer(words)
    with pytest.raises(TokenizerError, match="adds more than its ids to a text, such as a fixed length"):
        as_tokenizer(gpt2(sequence_length=4))
