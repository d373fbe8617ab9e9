"""What somebody who knows KerasHub does: its models in our Trainer, and ours in `fit` on texts."""

from __future__ import annotations

import json

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import highnoon as hn
from highnoon.inference import generate
from highnoon.tokenization import BytePairTokenizer, ByteTokenizer

pytestmark = pytest.mark.slow

WORDS = "noon sun moon star light shade river stone field wind rain cloud".split()
TEXTS = [" ".join(np.random.default_rng(i).choice(WORDS, size=6 + i % 5)) for i in range(48)]
TINY = {"num_reasoning_blocks": 1, "embedding_dim": 32, "max_seq_length": 32, "dtype": "float32"}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)


def gpt2():
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=263,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=32,
    )
    return keras_hub.models.GPT2CausalLM(backbone)


def tokenizer_of_gpt2():
    """One of KerasHub, with the merges of one that was trained here."""
    model = json.loads(BytePairTokenizer(300).train_from_texts(TEXTS).to_json())["model"]
    pieces = [piece for piece in model["vocab"] if not piece.startswith("<|")]
    vocabulary = {piece: index for index, piece in enumerate(["<|endoftext|>", *pieces])}
    return keras_hub.models.GPT2Tokenizer(vocabulary, [" ".join(merge) for merge in model["merges"]])


def llama():
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=263,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=16,
        intermediate_dim=32,
    )
    return keras_hub.models.LlamaCausalLM(backbone)


def trainer_of(model):
    trainer = hn.Trainer(
        model, learning_rate=1e-2, batch_size=4, max_seq_length=32, tokenizer=ByteTokenizer(), warmup_steps=2
    )
    return trainer.add_curriculum_stage("only", "texts.jsonl", steps=12)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_a_model_of_keras_hub_trains_is_saved_resumes_and_generates(make, tmp_path):
    lines = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    (tmp_path / "texts.jsonl").write_text("".join(lines))
    model = make()
    before = generate(model, [[2, 40, 41]], max_length=5, temperature=0)
    summary = trainer_of(model).train(checkpoint_dir="run", checkpoint_interval=6, verbose=False)
    assert summary["best_val_loss"] < np.log(263) - 1
    resumed = make()
    trainer_of(resumed).train(checkpoint_dir="again", resume_from="run/step_00000006", verbose=False)
    for ours, theirs in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    after = generate(model, [[2, 40, 41]], max_length=5, temperature=0)
    assert after != before and after[0][:3] == [2, 40, 41]
    assert generate(model, "noon", max_length=5, tokenizer=ByteTokenizer(), seed=0).startswith("noon")


def test_a_model_of_keras_hub_trains_and_generates_with_its_own_tokenizer(tmp_path):
    lines = [json.dumps({"text": text}) + "\n" for text in TEXTS]
    (tmp_path / "texts.jsonl").write_text("".join(lines))
    tokenizer = tokenizer_of_gpt2()
    preprocessor = keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=32)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    backbone = keras_hub.models.GPT2Backbone(tokenizer.vocabulary_size(), **size, max_sequence_length=32)
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor)
    trainer = hn.Trainer(model, learning_rate=1e-2, batch_size=4, max_seq_length=32)
    trainer.add_curriculum_stage("only", "texts.jsonl", steps=4).train(verbose=False)
    ids = [int(token_id) for token_id in tokenizer("the sun at noon")]
    assert trainer.tokenizer.encode("the sun at noon", add_special_tokens=False) == ids
    assert generate(model, "the sun", max_length=4, seed=0).startswith("the sun")


def test_ours_is_used_as_a_model_of_keras_hub(tmp_path):
    model = hn.LanguageModel.from_preset("highnoon-nano", load_weights=False, vocab_size=300, **TINY)
    model.tokenizer = BytePairTokenizer(300).train_from_texts(TEXTS)
    model.preprocessor.sequence_length = 16
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = model.fit(TEXTS[:32], batch_size=8, epochs=4, validation_data=(TEXTS[32:],), verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 0.5
    assert history["val_loss"][-1] < history["val_loss"][0]
    pairs = {"prompts": TEXTS[:8], "responses": ["stone"] * 8}
    datasets = [tf.data.Dataset.from_tensor_slices(x).batch(4) for x in (TEXTS[:8], pairs)]
    for data in datasets:
        assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()
    assert model.predict(TEXTS[:3], verbose=0).shape == (3, 16, 300)
    loss, accuracy = model.evaluate(TEXTS, verbose=0)
    assert loss < np.log(300) and 0 <= accuracy <= 1
    model.save("model.keras")
    again = hn.load_model("model.keras")
    assert again.evaluate(TEXTS, verbose=0) == [loss, accuracy]
    assert again.generate("sun", max_length=8, seed=3) == model.generate("sun", max_length=8, seed=3)
    again.fit(TEXTS, verbose=0)
    model.save_to_preset("preset")
    theirs = keras_hub.models.CausalLM.from_preset("preset")
    assert type(theirs) is hn.LanguageModel
    np.testing.assert_allclose(theirs.evaluate(TEXTS, verbose=0)[0], loss, rtol=1e-5)
