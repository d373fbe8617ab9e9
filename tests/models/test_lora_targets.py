"""Which layers get LoRA factors."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.models import ReasoningBackbone

SHAPE = {
    "vocab_size": 30,
    "embedding_dim": 8,
    "num_reasoning_blocks": 1,
    "num_heads": 2,
    "block_pattern": "attention+mlp",
}
VALID = "attention_output, down, gate, key, query, token_embedding, up, value"


@pytest.fixture(scope="module")
def backbone():
    """One backbone for all that is refused: it stays as it is."""
    return ReasoningBackbone(**SHAPE)


@pytest.mark.parametrize(
    "names",
    [
        ["q_proj"],
        ["query", "q_proj"],
        ["q_proj", "query"],
        "q_proj",
        ["final_norm"],
        [""],
        ["query", None],
        ["QUERY"],
        ["reasoning_block_0"],
        [["query"]],
    ],
)
def test_a_name_that_fits_no_layer_is_refused_with_the_valid_ones_and_freezes_nothing(backbone, names):
    with pytest.raises(ValueError, match=VALID) as caught:
        backbone.enable_lora(4, names)
    assert "\n" not in str(caught.value)
    assert all(weight.trainable for weight in backbone.weights)
    assert backbone.lora is None and not any("lora" in weight.path for weight in backbone.weights)


def test_the_nearest_valid_name_is_offered(backbone):
    with pytest.raises(ValueError, match="did you mean 'query'"):
        backbone.enable_lora(4, ["querry"])


@pytest.mark.parametrize("rank", [0, -1, 1.5, 4.0, True, "4", None, float("nan")])
def test_a_rank_that_is_no_whole_number_of_at_least_1_is_refused(backbone, rank):
    with pytest.raises(ValueError, match="`rank` must be an integer of at least 1"):
        backbone.enable_lora(rank)
    assert all(weight.trainable for weight in backbone.weights)


def test_no_names_are_refused(backbone):
    with pytest.raises(ValueError, match="at least 1 name"):
        backbone.enable_lora(4, [])


def test_one_name_may_be_given_as_a_text_and_names_twice():
    backbone = ReasoningBackbone(**SHAPE)
    backbone.enable_lora(np.int64(2), "query")
    assert {weight.path.split("/")[-2] for weight in backbone.trainable_weights} == {"query"}
    assert backbone.lora == {"rank": 2, "target_layer_names": ["query"]}
    backbone = ReasoningBackbone(**SHAPE)
    backbone.enable_lora(2, ["query", "up", "query"])
    assert len(backbone.trainable_weights) == 4


@pytest.mark.parametrize(
    "enable",
    [
        lambda backbone: backbone.enable_lora(2),
        lambda backbone: next(x for x in backbone._flatten_layers() if x.name == "up").enable_lora(2),
    ],
)
def test_lora_twice_is_refused_and_changes_nothing(enable):
    backbone = ReasoningBackbone(**SHAPE)
    enable(backbone)
    before = [(weight.path, weight.trainable) for weight in backbone.weights]
    with pytest.raises(ValueError, match="LoRA is enabled already, with rank 2"):
        backbone.enable_lora(4, ["key"])
    assert [(weight.path, weight.trainable) for weight in backbone.weights] == before
