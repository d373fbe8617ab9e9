"""A tabular policy over sequences of three tokens from four, small enough to enumerate, in float64."""

from __future__ import annotations

import itertools

import keras
import numpy as np
from keras import ops

VOCAB, LENGTH = 4, 3
SEQUENCES = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)), np.int32)
NUM_CONTEXTS = 1 + VOCAB + VOCAB**2
REWARDS = np.random.default_rng(3).normal(size=len(SEQUENCES))


class TabularPolicy(keras.Model):
    """One row of logits, and one value, for each prefix of a sequence.

    Call arguments: `token_ids` (b, 3): any token, then the first two of the sequence. Returns logits
    (b, 3, 4).
    """

    separates_segments = True

    def __init__(self, seed: int, scale: float = 0.5) -> None:
        super().__init__(dtype="float64")
        table = np.random.default_rng(seed).normal(size=(NUM_CONTEXTS, VOCAB)) * scale
        self.table = self.add_weight(
            shape=table.shape, name="table", initializer=lambda *args, **kwargs: table, dtype="float64"
        )
        self.value_table = self.add_weight(
            shape=(NUM_CONTEXTS,), name="values", initializer="zeros", dtype="float64"
        )
        self.built = True

    def contexts(self, token_ids):
        """The index of the prefix before each token."""
        first, second = token_ids[:, 1], token_ids[:, 2]
        return ops.stack([ops.zeros_like(first), 1 + first, 1 + VOCAB + VOCAB * first + second], axis=1)

    def call(self, inputs, training=None):
        token_ids = inputs["token_ids"] if isinstance(inputs, dict) else inputs
        return ops.take(self.table, self.contexts(token_ids), axis=0)

    def logits_and_values(self, batch, training):
        values = ops.take(self.value_table, self.contexts(batch["token_ids"]), axis=0)
        return self.call(batch), values, ops.zeros((), "float64")


def contexts(sequences):
    """As of the model, in NumPy."""
    first, second = sequences[:, 0], sequences[:, 1]
    return np.stack([np.zeros_like(first), 1 + first, 1 + VOCAB + VOCAB * first + second], axis=1)


def log_probs(table, sequences=SEQUENCES):
    """The log-probability (n, 3) of each token of each sequence."""
    normalized = table - np.log(np.sum(np.exp(table), axis=1, keepdims=True))
    return normalized[contexts(sequences), sequences]


def probabilities(table):
    """The probability of each of the 64 sequences."""
    return np.exp(log_probs(table).sum(axis=1))


def divergence(p, q):
    return float(np.sum(p * (np.log(p) - np.log(q))))


def optimum(reference_table, rewards, beta):
    """The policy of largest reward minus beta times its divergence from the reference."""
    unnormalized = probabilities(reference_table) * np.exp(rewards / beta)
    return unnormalized / unnormalized.sum()


def batch_of(sequences, weights, **columns):
    """A batch of the objective: all three tokens are sampled, each row counts as often as its weight says."""
    begin = np.concatenate([np.zeros((len(sequences), 1), np.int32), sequences[:, :-1]], axis=1)
    ones = np.ones_like(sequences)
    return {
        "token_ids": begin,
        "labels": sequences,
        "segment_ids": ones,
        "positions": ones * np.arange(LENGTH, dtype=np.int32),
        "loss_weights": np.repeat(np.asarray(weights)[:, None], LENGTH, axis=1),
        **columns,
    }
