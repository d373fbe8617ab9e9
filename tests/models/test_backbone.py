"""The backbone by itself."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from highnoon.config import ConfigError
from highnoon.models import ReasoningBackbone

FIELDS = {
    "vocab_size": 30,
    "embedding_dim": 16,
    "num_reasoning_blocks": 2,
    "num_moe_experts": 3,
    "expert_dim": 8,
    "num_heads": 2,
}
TOKEN_IDS = np.random.default_rng(0).integers(1, 30, (2, 6))


def test_hidden_states_are_normed_and_of_the_models_width():
    hidden = ops.convert_to_numpy(ReasoningBackbone(**FIELDS)(TOKEN_IDS))
    assert hidden.shape == (2, 6, 16)
    np.testing.assert_allclose(np.mean(hidden**2, -1), 1.0, rtol=1e-2)


def test_router_losses_add_up_and_metrics_are_means_over_layers():
    backbone = ReasoningBackbone(**FIELDS)
    _, aux_loss, metrics = backbone(TOKEN_IDS, return_aux=True)
    x, losses, loads = backbone.token_embedding(TOKEN_IDS), [], []
    for block in backbone.reasoning_blocks:
        x, part, load = block(x)
        losses.append(float(part))
        loads.append(float(load[0]["router/load_entropy"]))
    assert float(aux_loss) == pytest.approx(sum(losses))
    assert float(metrics["router/load_entropy"]) == pytest.approx(np.mean(loads))


def test_the_configuration_rebuilds_it():
    backbone = ReasoningBackbone(**FIELDS, dtype="mixed_bfloat16", name="mind")
    again = ReasoningBackbone.from_config(backbone.get_config())
    assert again.config == backbone.config and again.name == "mind"
    assert again.dtype_policy.name == "mixed_bfloat16"


def test_an_unknown_field_is_named():
    with pytest.raises(ConfigError, match="`embeding_dim`; did you mean `embedding_dim`"):
        ReasoningBackbone(embeding_dim=16)


def test_a_backbone_is_made_beside_the_functional_ones_of_keras_hub():
    """Keras gives `Backbone` another base class once any functional backbone exists in the process."""
    from keras_hub.models import GPT2Backbone

    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    GPT2Backbone(vocabulary_size=9, max_sequence_length=4, **sizes)
    backbone = ReasoningBackbone(vocab_size=50, embedding_dim=32, num_reasoning_blocks=1)
    assert backbone(np.array([[2, 7, 9]])).shape == (1, 3, 32)
