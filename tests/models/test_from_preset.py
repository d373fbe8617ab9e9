"""`from_preset` and `save_to_preset`, by name and by folder."""

from __future__ import annotations

import keras_hub
import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError, TrainingConfig
from highnoon.testing.check_model import logits_of
from highnoon.tokenization import ByteTokenizer, ChatTemplate

TOKEN_IDS = np.random.default_rng(0).integers(4, 263, (2, 6))
TINY = {"num_reasoning_blocks": 1, "embedding_dim": 16, "block_pattern": "attention+mlp", "num_heads": 2}


@pytest.fixture
def model():
    tokenizer = ByteTokenizer().with_chat_template(ChatTemplate())
    training_config = TrainingConfig(batch_size=3)
    return hn.LanguageModel(
        263, 16, 16, 1, "attention+mlp", tokenizer=tokenizer, training_config=training_config
    )


@pytest.mark.parametrize("name", ["highnoon-nano", "nano"])
def test_a_name_makes_the_model_of_create_model_and_says_that_its_weights_are_new(name, capsys):
    model = hn.LanguageModel.from_preset(name, dtype="float32", **TINY)
    assert model.config == hn.create_model(name, dtype="float32", **TINY).config
    assert "its weights are new" in capsys.readouterr().out
    hn.LanguageModel.from_preset(name, load_weights=False, **TINY)
    assert capsys.readouterr().out == "" and "highnoon-nano" in hn.LanguageModel.presets


@pytest.mark.parametrize("name", ["highnoon-nanoo", "gpt2_base_en", "hf://somebody/model"])
def test_an_unknown_name_is_answered_with_the_nearest_and_the_way_to_others(name):
    with pytest.raises(
        ConfigError, match=f"no preset or folder `{name}`; .*highnoon-nano.*keras_hub"
    ) as error:
        hn.LanguageModel.from_preset(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "load", [hn.LanguageModel.from_preset, keras_hub.models.CausalLM.from_preset, hn.load_model]
)
def test_what_save_to_preset_wrote_comes_back_everywhere(model, tmp_path, load):
    model.save_to_preset(tmp_path / "preset")
    again = load(str(tmp_path / "preset"))
    assert type(again) is hn.LanguageModel and again.config == model.config
    assert again.tokenizer.chat_template == ChatTemplate() and again.training_config.batch_size == 3
    np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))
    assert again.predict(["noon"], verbose=0).shape == (1, 16, 263)


def test_the_folder_of_save_model_is_a_preset_too(model, tmp_path):
    hn.save_model(model, tmp_path / "m")
    again = hn.LanguageModel.from_preset(tmp_path / "m")
    np.testing.assert_array_equal(logits_of(again, TOKEN_IDS), logits_of(model, TOKEN_IDS))
    new = hn.LanguageModel.from_preset(tmp_path / "m", load_weights=False)
    assert new.config == model.config and new.tokenizer is not None and new.training_config.batch_size == 3
    assert np.abs(logits_of(new, TOKEN_IDS) - logits_of(model, TOKEN_IDS)).max() > 1e-3
    with pytest.raises(ConfigError, match="the model of a folder has its own num_heads; leave them out"):
        hn.LanguageModel.from_preset(tmp_path / "m", num_heads=2)
