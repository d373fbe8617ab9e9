"""A toy of block diffusion whose sequences can be enumerated: four tokens of three kinds, and a mask."""

from __future__ import annotations

import itertools

import keras
import numpy as np

import highnoon as hn
from highnoon.training.objectives import BlockDiffusion
from highnoon.training.objectives.block_diffusion.block_inputs import noisy_inputs

VOCAB, MASK, LENGTH = 3, 3, 4
SEQUENCES = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)), "int32")


def make_toy(pattern="attention+mlp", seed=0, initializer_range=1.0, **fields):
    """A model whose random weights are so large that its tokens depend much on one another."""
    keras.utils.set_random_seed(seed)
    model = hn.LanguageModel(
        vocab_size=VOCAB + 1,
        embedding_dim=8,
        num_reasoning_blocks=1,
        num_heads=2,
        ffn_dim=8,
        max_seq_length=64,
        block_pattern=pattern,
        initializer_range=initializer_range,
        **fields,
    )
    model.outputs_description = BlockDiffusion(mask_id=MASK).describe_outputs()
    return model


def rows_of(sequences, first=0):
    """Rows that predict `sequences` (n, 4) after a given token."""
    ids = np.concatenate([np.full((len(sequences), 1), first), sequences], axis=1).astype("int32")
    return {
        "token_ids": ids[:, :-1],
        "labels": ids[:, 1:],
        "segment_ids": np.ones((len(ids), LENGTH), "int32"),
        "positions": np.tile(np.arange(LENGTH, dtype="int32"), (len(ids), 1)),
        "loss_weights": np.ones((len(ids), LENGTH), "float32"),
    }


def denoising_table(model, first=0):
    """Log-probabilities (4, vocabulary) of each token for every state of a block, a tuple with masks."""
    states = list(itertools.product(range(VOCAB + 1), repeat=LENGTH))
    array = np.array(states, "int32")
    rows = rows_of(np.zeros_like(array), first)
    noisy = {
        "noisy_labels": array,
        "noisy_positions": rows["positions"] + 1,
        "noisy_segment_ids": rows["segment_ids"],
        "is_masked": (array == MASK).astype("int32"),
        "block_lengths": np.full(len(array), LENGTH, "int32"),
    }
    logits = np.asarray(model(noisy_inputs({**rows, **noisy}, MASK))[:, :LENGTH, :VOCAB], np.float64)
    return dict(zip(states, logits - np.log(np.exp(logits).sum(-1, keepdims=True)), strict=True))


def exact_probability(table, sequence, num_steps):
    """The probability of a block under the process with `num_steps` steps, summed over all its paths."""
    reached = {(MASK,) * LENGTH: 1.0}
    for left in range(num_steps, 0, -1):
        after = dict.fromkeys(reached, 0.0)
        for state, mass in reached.items():
            masked = [place for place in range(LENGTH) if state[place] == MASK]
            for size in range(len(masked) + 1):
                for chosen in itertools.combinations(masked, size):
                    new, chance = list(state), (1 / left) ** size * (1 - 1 / left) ** (len(masked) - size)
                    for place in chosen:
                        chance *= np.exp(table[state][place, sequence[place]])
                        new[place] = int(sequence[place])
                    after[tuple(new)] = after.get(tuple(new), 0.0) + mass * chance
        reached = after
    return reached[tuple(int(token) for token in sequence)]


def exact_bound(table, sequence, num_steps):
    """The bound of the paper, an expectation over what is masked before each step."""
    total = 0.0
    for i in range(1, num_steps + 1):
        rate = i / num_steps
        for masks in itertools.product([False, True], repeat=LENGTH):
            chance = np.prod([rate if is_masked else 1 - rate for is_masked in masks])
            state = tuple(MASK if masks[p] else int(sequence[p]) for p in range(LENGTH))
            losses = [-table[state][p, sequence[p]] for p in range(LENGTH) if masks[p]]
            total += chance * sum(losses) / i
    return total
