"""Rows as a tf.data.Dataset have Keras's form, the same batches each time, and train with `fit`."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.data import DataError, TextDataset
from highnoon.tokenization import ByteTokenizer

TEXTS = [f"the fox number {number} ran over the {number} hills until the sun sank" for number in range(40)]


@pytest.fixture
def dataset(tmp_path):
    return TextDataset(TEXTS, ByteTokenizer(), max_length=32, cache_dir=tmp_path)


def _arrays(dataset):
    return [[*(x[key].numpy() for key in sorted(x)), y.numpy(), w.numpy()] for x, y, w in dataset]


def test_batches_are_those_of_the_rows_and_the_same_each_time(dataset):
    rows = dataset.rows
    made = dataset.to_tf_dataset(batch_size=4, epochs=2)
    assert len(made) == 2 * -(-rows.view(0).num_rows // 4)
    first = _arrays(made)
    for one, other in zip(first, _arrays(made), strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    half = len(made) // 2
    for epoch in range(2):
        x, y, w = next(iter(made.skip(epoch * half)))
        batch = rows.view(epoch).read(0, 4)
        np.testing.assert_array_equal(x["token_ids"], batch["token_ids"])
        np.testing.assert_array_equal(x["padding_mask"], batch["segment_ids"] > 0)
        np.testing.assert_array_equal(y, batch["labels"])
        np.testing.assert_array_equal(w, batch["loss_weights"])
    other = _arrays(dataset.to_tf_dataset(batch_size=4, seed=7))
    assert any((a[-2] != b[-2]).any() for a, b in zip(first, other, strict=False))
    again = _arrays(rows.to_tf_dataset(batch_size=4, seed=7))
    assert all((a[-2] == b[-2]).all() for a, b in zip(again, other, strict=True)) and rows.seed == 42


def test_columns_follow_the_model_and_the_split(dataset):
    assert set(dataset.to_tf_dataset().element_spec[0]) == {
        "token_ids",
        "padding_mask",
        "segment_ids",
        "positions",
    }
    single = dataset.to_tf_dataset(packing=False, drop_remainder=True, batch_size=3)
    assert set(single.element_spec[0]) == {"token_ids", "padding_mask"}
    assert single.element_spec[1].shape == (3, 32)
    assert len(dataset.to_tf_dataset(split="validation")) >= 1
    for options, problem in (
        ({"features": ["tokens"]}, "must be of token_ids"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 10**6, "drop_remainder": True}, "decrease it"),
    ):
        with pytest.raises(DataError, match=problem):
            dataset.to_tf_dataset(**options)


@pytest.mark.slow
def test_fit_trains_this_package_model_and_a_plain_one(dataset, tmp_path, monkeypatch):
    import keras

    import highnoon as hn

    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    small = {"vocab_size": 300, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 32}
    model = hn.create_model("highnoon-nano", block_pattern="attention+mlp", **small)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    made = dataset.to_tf_dataset(batch_size=8, epochs=4)
    history = model.fit(made, epochs=4, steps_per_epoch=len(made) // 4, verbose=0).history["loss"]
    assert len(history) == 4 and history[-1] < history[0] - 0.3

    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="int32", name="padding_mask")
    hidden = keras.layers.Embedding(300, 16)(ids) * keras.ops.cast(mask, "float32")[..., None]
    plain = keras.Model({"token_ids": ids, "padding_mask": mask}, keras.layers.Dense(300)(hidden))
    plain.compile(keras.optimizers.Adam(1e-2), loss)
    history = plain.fit(dataset.to_tf_dataset(packing=False), epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]

    trainer = hn.Trainer(model, batch_size=4, max_seq_length=32, tokenizer=ByteTokenizer())
    (data,) = trainer.add_curriculum_stage("own", TEXTS, steps=3).stage_data()
    x, y, _ = next(iter(data.to_tf_dataset()))
    assert x["token_ids"].shape == y.shape == (4, 32)
