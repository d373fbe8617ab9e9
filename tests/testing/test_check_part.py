"""Every part of the package gives true numbers; each wrong number is found."""

from __future__ import annotations

import keras
import pytest

from highnoon.config import ConfigError
from highnoon.models.parts import PARTS, register_part
from highnoon.models.parts.attention import Attention
from highnoon.models.parts.moe import MixtureOfExperts
from highnoon.testing.check_part import check_part


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(PARTS, "_classes", dict(PARTS._classes))


@pytest.mark.parametrize(
    "name",
    [
        "attention",
        "sliding_attention(sliding_window=8)",
        "convolved_attention",
        "convolved_attention(conv_kernel_size=2, num_kv_heads=1, qk_norm=true)",
        "latent_attention",
        "mamba",
        "mamba2",
        "gated_delta_rule",
        "mlp",
        "mlp(ffn_bias=true)",
        "plain_mlp",
        "plain_mlp(ffn_bias=true, ffn_activation=gelu)",
        "attention(attention_bias=qkv)",
        "attention(attention_bias=all, attention_softcap=5.0, query_pre_attn_scalar=9)",
        "moe(num_experts=5, top_k=2)",
    ],
)
def test_a_part_of_the_package_gives_the_numbers_of_its_layer(name):
    check_part(name)


class CountsAWeightTooMany(Attention):
    def parameters(self, config):
        return super().parameters(config) + 1


class CountsCachedKeysAlone(Attention):
    def cache_numbers(self, config):
        return super().cache_numbers(config) // 2


class HasMoreActiveThanAll(Attention):
    def active_parameters(self, config):
        return self.parameters(config) + 1


class CountsEveryExpertAsActive(MixtureOfExperts):
    def active_parameters(self, config):
        return self.parameters(config)


class CountsOneExpertAsActive(MixtureOfExperts):
    def active_parameters(self, config):
        return self._parameters(config, 1)


class ForgetsTheRouter(MixtureOfExperts):
    def parameters(self, config):
        return super().parameters(config) - config.embedding_dim * config.num_moe_experts


class BuildsANarrowerLayer(MixtureOfExperts):
    def build(self, config, **kwargs):
        return keras.layers.Dense(config.embedding_dim, **kwargs)


@pytest.mark.parametrize(
    "fault, message",
    [
        (
            CountsAWeightTooMany,
            "`parameters` of `faulty` is [0-9,]+; expected [0-9,]+, the weights",
        ),
        (CountsCachedKeysAlone, "`cache_numbers` of `faulty` is .* the numbers in the cache of one sequence"),
        (HasMoreActiveThanAll, "`active_parameters` of `faulty` is .*; expected at most"),
        (CountsEveryExpertAsActive, "`active_parameters` .* the weights that one token passes"),
        (CountsOneExpertAsActive, "`active_parameters` .* the weights that one token passes"),
        (ForgetsTheRouter, "`parameters` of `faulty` is .* the weights of its layer"),
        (BuildsANarrowerLayer, "`parameters` of `faulty` is .* expected 1,056, the weights of its layer"),
    ],
)
def test_a_wrong_number_is_found(fault, message):
    register_part("faulty")(fault)
    with pytest.raises(AssertionError, match=message):
        check_part("faulty")


def test_what_is_no_part_is_refused():
    with pytest.raises(ConfigError, match="there is no mixer or feed-forward `attenton`"):
        check_part("attenton")
    with pytest.raises(ConfigError, match="must be the name of one mixer or feed-forward; received 'attent"):
        check_part("attention+mlp")
