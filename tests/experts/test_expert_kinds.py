"""Kinds of experts: the log-probabilities of labels are those of the logits, and are 0 without a label."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.experts.expert_kinds import KINDS, ExpertKind, expert_kind, register_expert_kind

VOCAB, LENGTH = 31, 9


def make_model(seed=0, **fields):
    keras.utils.set_random_seed(seed)
    shape = {"vocab_size": VOCAB, "embedding_dim": 16, "num_reasoning_blocks": 1, "num_heads": 2}
    options = {"block_pattern": "attention+mlp", "ffn_dim": 16, "max_seq_length": 32, **fields}
    return hn.LanguageModel(**{**shape, **options})


def make_plain_model():
    keras.utils.set_random_seed(3)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    return keras.Model(ids, keras.layers.Dense(VOCAB)(keras.layers.Embedding(VOCAB, 8)(ids)))


def make_batch(rows=3):
    rng = np.random.default_rng(1)
    ids = rng.integers(0, VOCAB, (rows, LENGTH + 1)).astype("int32")
    ids[0, 1] = 0  # id 0 is a label like any other
    is_token = np.arange(LENGTH) < np.array([[LENGTH], [4], [7]])[:rows]
    weights = (is_token & (np.arange(LENGTH) != 2)).astype("float32")
    return {
        "token_ids": ids[:, :-1] * is_token,
        "labels": ids[:, 1:] * is_token,
        "loss_weights": weights,
        "padding_mask": is_token.astype("int32"),
    }


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("make", [make_model, make_plain_model])
def test_log_probs_are_those_of_the_logits_and_0_where_there_is_no_label(make):
    model, batch = make(), make_batch()
    found = np.asarray(expert_kind(model).token_log_probs(model, batch))
    logits = np.stack([np.asarray(model(row[None]))[0] for row in batch["token_ids"]])
    expected = np.take_along_axis(log_softmax(logits), batch["labels"][..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found, expected * (batch["loss_weights"] > 0), atol=1e-5)
    assert found.dtype == np.float32 and batch["labels"][0, 0] == 0 and found[0, 0] < -1


def test_the_logits_of_a_batch_are_never_in_memory(monkeypatch):
    model, batch, sizes = make_model(), make_batch(), []
    monkeypatch.setattr(sys.modules["highnoon.layers.token_cross_entropy"], "_CHUNK_LOGITS", 4 * VOCAB)
    logsumexp = ops.logsumexp
    monkeypatch.setattr(ops, "logsumexp", lambda x, **kw: sizes.append(tuple(x.shape)) or logsumexp(x, **kw))
    expert_kind(model).token_log_probs(model, batch)
    assert sizes and all(size[0] <= 4 for size in sizes if size[-1] == VOCAB)


def test_packed_documents_have_the_log_probs_that_they_have_alone():
    model, batch = make_model(), make_batch(1)
    segments = np.array([[1] * 5 + [2] * 4], "int32")
    positions = np.array([[0, 1, 2, 3, 4, 0, 1, 2, 3]], "int32")
    ones = np.ones((1, LENGTH), "float32")
    arrays = {name: batch[name] for name in ("token_ids", "labels")}
    packed = {**arrays, "segment_ids": segments, "positions": positions, "loss_weights": ones}
    found = np.asarray(expert_kind(model).token_log_probs(model, packed))
    last = {name: array[:, 5:] for name, array in arrays.items()}
    alone = {**last, "padding_mask": np.ones((1, 4), "int32"), "loss_weights": ones[:, 5:]}
    np.testing.assert_allclose(
        found[:, 5:], np.asarray(expert_kind(model).token_log_probs(model, alone)), atol=1e-5
    )


class Counting(ExpertKind):
    """Predicts from the number of tokens before, by its cache alone."""

    name = "counting"

    def token_log_probs(self, model, batch):
        raise NotImplementedError

    def initial_cache(self, model, batch_size, max_length):
        return {"seen": ops.zeros((batch_size,), "int32")}

    def decode(self, model, token_ids, cache, index, padding=None):
        padding = 0 if padding is None else padding[:, None]
        place = index + ops.arange(token_ids.shape[1])[None] - padding
        return ops.one_hot(place, VOCAB), {"seen": cache["seen"] + token_ids.shape[1]}


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(KINDS, "_classes", dict(KINDS._classes))
    return register_expert_kind(Counting)


def test_a_registered_kind_is_found_by_the_description_of_a_models_outputs(counting):
    model = make_model()
    model.outputs_description = {"expert_kind": "counting"}
    assert type(expert_kind(model)) is counting
    model.outputs_description = {"labels": ["a"]}
    assert expert_kind(model).name == "autoregressive"


def test_the_logits_of_rows_are_decoded_after_the_padding_in_front(counting):
    ids = np.ones((2, 5), "int32")
    mask = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]])
    found = np.asarray(counting().logits(None, {"token_ids": ids, "padding_mask": mask}))
    assert found[0].argmax(-1).tolist() == [0, 1, 2, 3, 4] and found[1, 2:].argmax(-1).tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="one document a row; received `segment_ids`"):
        counting().logits(None, {"token_ids": ids, "segment_ids": mask})


def test_an_unknown_kind_and_a_class_that_is_none_are_refused():
    model = make_model()
    model.outputs_description = {"expert_kind": "telepathic"}
    with pytest.raises(ConfigError, match="telepathic"):
        expert_kind(model)
    with pytest.raises(ConfigError, match="subclass of ExpertKind; received"):
        register_expert_kind(dict)
