"""Beam search against the same search by full forward passes."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.inference import generate_beam


def log_shares(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float64")
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def naive_beam(
    last_logits, prompt: list[int], num_beams: int, limit: int, penalty: float, stops=()
) -> list[int]:
    """Every continuation one token longer, all of them ranked; no early end."""
    alive, best = [(0.0, [])], (-np.inf, [])
    for count in range(1, limit + 1):
        longer = [
            (total + share, [*ids, token])
            for total, ids in alive
            for token, share in enumerate(log_shares(last_logits([*prompt, *ids])))
        ]
        for total, ids in longer:
            if (ids[-1] in stops or count == limit) and total / count**penalty > best[0]:
                best = (total / count**penalty, ids)
        alive = sorted((pair for pair in longer if pair[1][-1] not in stops), reverse=True)[:num_beams]
    return prompt + best[1]


@pytest.fixture(scope="module")
def blunt_model(new_model):
    return new_model(12, sharpness=1.0)


PROMPTS = [[3, 8, 1], [5], [2, 9, 4, 4, 7, 7, 1, 0, 10, 11]]


@pytest.mark.parametrize(
    "num_beams, penalty, stops",
    [
        (1, 1.0, ()),
        (3, 1.0, ()),
        (4, 0.0, (2, 7)),
        (4, 1.0, (2, 7)),
        (3, 3.0, (7,)),
    ],
)
def test_the_best_continuation_is_that_of_a_naive_search(blunt_model, num_beams, penalty, stops) -> None:
    rows = generate_beam(
        blunt_model, PROMPTS, num_beams, max_length=6, length_penalty=penalty, stop_sequences=stops
    )
    assert rows == [
        naive_beam(lambda ids: blunt_model.full_logits(ids)[-1], prompt, num_beams, 6, penalty, stops)
        for prompt in PROMPTS
    ]


def test_more_beams_find_likelier_continuations_than_greedy_choice(blunt_model, greedy) -> None:
    rows = [generate_beam(blunt_model, [5], beams, max_length=6) for beams in (1, 12)]
    totals = [
        sum(log_shares(blunt_model.full_logits(row[:i])[-1])[row[i]] for i in range(1, 7)) for row in rows
    ]
    assert rows[0] == greedy(blunt_model, [5], 6)
    assert totals[0] < totals[-1]


@pytest.mark.slow
def test_recurrent_states_follow_their_beams() -> None:
    model = hn.HSMN(
        vocab_size=12,
        embedding_dim=32,
        max_seq_length=64,
        num_reasoning_blocks=1,
        num_heads=2,
        block_pattern="mamba2, gated_delta_rule, attention",
    )
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.3, size=weight.shape))

    def last_logits(ids: list[int]) -> np.ndarray:
        return ops.convert_to_numpy(model(np.asarray([ids]), training=False))[0, -1]

    rows = generate_beam(model, PROMPTS[:2], 3, max_length=4)
    assert rows == [naive_beam(last_logits, prompt, 3, 4, 1.0) for prompt in PROMPTS[:2]]


def test_a_text_gives_a_text_cut_at_a_stop_text(printable_model, tokenizer) -> None:
    whole = generate_beam(printable_model, "ab", 2, max_length=20, tokenizer=tokenizer, strip_prompt=True)
    stop = whole[6:8]
    cut = generate_beam(printable_model, "ab", 2, max_length=20, tokenizer=tokenizer, stop_sequences=stop)
    assert cut == "ab" + whole[: whole.index(stop)]


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"num_beams": 0}, "`num_beams` must be between 1 and the 12"),
        ({"num_beams": 13}, "received 13"),
        ({"length_penalty": -1.0}, "`length_penalty` must be"),
        ({"max_length": 0}, "`max_length` must be"),
    ],
)
def test_bad_arguments_are_named(blunt_model, kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_beam(blunt_model, [5], **kwargs)
