"""Parts of one's own, options in patterns, and layers that report losses and metrics."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError, ModelConfig
from highnoon.layers import Mixer, Report
from highnoon.models import LanguageModel, count_parameters
from highnoon.models.memory import part_parameters
from highnoon.models.parts import PARTS, Activations, FeedForwardPart, MixerPart, register_part
from highnoon.models.patterns import bind_pattern
from highnoon.testing.check_mixer import check_mixer

SHAPE = {
    "vocab_size": 60,
    "embedding_dim": 16,
    "num_reasoning_blocks": 2,
    "num_heads": 2,
    "max_seq_length": 32,
}
OPTIONS = (
    "mamba2(state_dim=8, ssm_head_dim=16)+moe(num_experts=3, top_k=1), "
    "attention(qk_norm=true)+mlp(ffn_dim=24)"
)
IDS = np.random.default_rng(0).integers(7, 60, (2, 11))


@keras.saving.register_keras_serializable(package="tests")
class SegmentMean(Mixer):
    """Adds up what a token may see, and reports how large that is."""

    def __init__(self, gain: float = 1.0, is_causal: bool = True, reports: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.gain, self.is_causal, self.reports = gain, is_causal, reports

    def build(self, x_shape):
        self.scale = self.add_weight((x_shape[-1],), initializer="ones", name="scale")

    def call(self, x, segment_ids=None, positions=None, training=None):
        time = ops.arange(ops.shape(x)[1])
        seen = time[None, :, None] >= (time[None, None, :] if self.is_causal else 0)
        seen = ops.cast(seen, x.dtype) * ops.ones_like(x[:, :, :1]) * ops.ones_like(x[:, None, :, 0])
        if segment_ids is not None:
            seen = seen * ops.cast(segment_ids[:, :, None] == segment_ids[:, None, :], x.dtype)
        y = self.gain * self.scale * ops.matmul(seen, x) / ops.sum(seen, -1, keepdims=True)
        if not self.reports:
            return y
        return y, Report(0.5 * ops.mean(ops.square(y)), {"activation/size": ops.mean(ops.abs(y))})

    def initial_cache(self, batch_size, max_length, dtype=None):
        width = self.scale.shape[0]
        return {"sum": ops.zeros((batch_size, width)), "count": ops.zeros((batch_size, 1))}

    def step(self, x, cache, index, padding=None):
        positions = index + ops.arange(x.shape[1])
        x = ops.cast(x, "float32")
        seen = ops.ones(x.shape[:2]) if padding is None else ops.cast(positions >= padding[:, None], x.dtype)
        sums = cache["sum"][:, None] + ops.cumsum(x * seen[..., None], axis=1)
        counts = cache["count"][:, None] + ops.cumsum(seen, axis=1)[..., None]
        y = self.gain * self.scale * sums / ops.maximum(counts, 1.0)
        return ops.cast(y, self.compute_dtype), {"sum": sums[:, -1], "count": counts[:, -1]}


class SegmentMeanPart(MixerPart):
    reports = False

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def build(self, config, **kwargs):
        return SegmentMean(self.gain, self.is_causal, self.reports, **kwargs)

    def parameters(self, config):
        return config.embedding_dim

    def cache_numbers(self, config):
        return config.embedding_dim + 1

    def flops(self, config, length):
        return length * config.embedding_dim


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(PARTS, "_classes", dict(PARTS._classes))
    register_part("segment_mean")(SegmentMeanPart)

    @register_part("reporting_mean")
    class Reporting(SegmentMeanPart):
        reports = True

        def activations(self, config, length):
            return Activations(2 * config.embedding_dim, 0)

    @register_part("all_mean")
    class AllMean(SegmentMeanPart):
        is_causal = False


def test_a_mixer_of_ones_own_passes_the_battery():
    check_mixer(SegmentMean(1.5), width=8)
    check_mixer(SegmentMean(reports=True), width=8)


def test_a_mixer_that_is_not_causal_passes_the_battery_by_padding_and_segments():
    check_mixer(SegmentMean(is_causal=False), width=8)


@pytest.mark.parametrize(
    "mixer, words",
    [
        (SegmentMean(is_causal=False), "later tokens change earlier outputs"),
        (SegmentMean(), "no earlier output depends on a later token"),
    ],
)
def test_a_mixer_that_says_the_wrong_thing_of_itself_is_found(mixer, words, monkeypatch):
    call = SegmentMean.call
    claim = not mixer.is_causal

    def lies(self, x, **options):
        self.is_causal = not claim
        y = call(self, x, **options)
        self.is_causal = claim
        return y

    monkeypatch.setattr(SegmentMean, "call", lies)
    mixer.is_causal = claim
    with pytest.raises(AssertionError, match=words):
        check_mixer(mixer, width=8)


def test_options_of_a_pattern_change_one_part_and_are_counted(tmp_path):
    model = LanguageModel(**SHAPE, block_pattern=OPTIONS)
    (mamba2, moe), (attention, mlp) = bind_pattern(model.config)
    block = model.backbone.reasoning_blocks[0]
    assert block.mixers[0].state_dim == mamba2.config.state_dim == 8 and model.config.state_dim is None
    assert block.feed_forwards[0].num_experts == moe.config.num_moe_experts == 3
    assert block.feed_forwards[0].num_experts_per_tok == 1
    assert block.mixers[1].qk_norm is attention.config.qk_norm is True
    assert block.feed_forwards[1].hidden_dim == mlp.config.ffn_dim == 24
    assert model.count_params() == count_parameters(model.config)
    assert [name for name, _ in part_parameters(model.config)["block"]][3] == "mlp(ffn_dim=24)"
    again = hn.load_model(hn.save_model(model, tmp_path / "model"))
    assert again.config == model.config
    np.testing.assert_array_equal(again(IDS), model(IDS))


def test_options_equal_the_flat_fields():
    keras.utils.set_random_seed(1)
    flat = LanguageModel(**SHAPE, block_pattern="mamba+mlp", state_dim=4, ffn_dim=24)
    keras.utils.set_random_seed(1)
    written = LanguageModel(**SHAPE, block_pattern="mamba(state_dim=4)+mlp(ffn_dim=24)")
    np.testing.assert_array_equal(flat(IDS), written(IDS))
    assert [w.path for w in flat.weights] == [w.path for w in written.weights]


@pytest.mark.parametrize(
    "pattern, words",
    [
        (
            "mamba2(state_dims=8)",
            "`mamba2` has no option `state_dims` .*; did you mean `state_dim`",
        ),
        (
            "attention(state_dim=8)",
            "`attention` has no option `state_dim` in a block pattern",
        ),
        ("segment_mean(gian=2)", "did you mean `gain`"),
        ("mamba2(state_dim=0)", "has 'mamba2.state_dim=0.': `state_dim` must be at least 1"),
        ("mamba2(state_dim=8", "has no layer for"),
        ("mamba2(state_dim)", "has the option 'state_dim'; write each option once"),
        ("mamba2(state_dim=1, state_dim=2)", "has the option 'state_dim=2'; write each option once"),
        ("attention+moe(num_experts=2, num_moe_experts=2)", "`moe` has `num_moe_experts` twice"),
        ("attention(num_heads=3)+mlp", "`embedding_dim` must be a multiple of"),
        ("mamba2()x", "has no layer for"),
        (
            "segment_mean(initial=2)",
            "its options: gain; give the constructor of its part an argument `initial`$",
        ),
        ("attention(initial=2)", "its options: [a-z_, ]*$"),
        (
            "ema2+mlp",
            "no layer is registered as `ema2`.*; import the module that registers it, or declare an entry "
            "point in the group `highnoon.parts`$",
        ),
        ("attenton+mlp", r"no layer is registered as `attenton` \(did you mean `attention`\?\); import"),
        ("mlp+attention", "or a name: [a-z_, ]*$"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(pattern, words):
    with pytest.raises(ConfigError, match=words) as caught:
        bind_pattern(ModelConfig(**SHAPE, block_pattern=pattern))
    assert "\n" not in str(caught.value)


def test_a_saved_model_whose_part_is_not_registered_says_how_to_register_it(tmp_path, monkeypatch):
    hn.save_model(LanguageModel(**SHAPE, block_pattern="segment_mean+mlp"), tmp_path / "model")
    monkeypatch.delitem(PARTS._classes, "segment_mean")
    with pytest.raises(ValueError, match="registered as `segment_mean`.*; import the module") as caught:
        hn.load_model(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_a_part_of_ones_own_is_built_counted_and_decoded(tmp_path):
    model = LanguageModel(**SHAPE, block_pattern="segment_mean(gain=2.5)+mlp, attention+mlp")
    assert model.backbone.reasoning_blocks[0].mixers[0].gain == 2.5
    assert model.count_params() == count_parameters(model.config)
    plain = LanguageModel(**SHAPE, block_pattern="attention+mlp")
    more = model.flops_per_token(10) - plain.flops_per_token(10)
    others = count_parameters(model.config) - count_parameters(plain.config)
    assert more == 6 * others + 3 * 2 * 10 * 16
    assert model.activation_bytes(2, 8) is None
    cache, logits = model.initial_cache(2, 16, "float32"), []
    for start, end in ((0, 7), (7, 8), (8, 11)):
        part, cache = model.decode(IDS[:, start:end], cache, start)
        logits.append(ops.convert_to_numpy(part))
    np.testing.assert_allclose(np.concatenate(logits, 1), model(IDS), atol=1e-5)
    again = hn.load_model(hn.save_model(model, tmp_path / "model"))
    np.testing.assert_array_equal(again(IDS), model(IDS))


def batch_of(ids):
    return {"token_ids": ids, "labels": np.roll(ids, -1, 1), "loss_weights": np.ones(ids.shape, "float32")}


IS_TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.mark.parametrize(
    "is_checkpointed, is_compiled",
    [(False, False), *([(True, False), (True, True)] if IS_TENSORFLOW else [])],
)
def test_a_layer_reports_its_loss_and_metrics_under_full_names(is_checkpointed, is_compiled):
    model = LanguageModel(**SHAPE, block_pattern="reporting_mean+moe, attention+mlp", num_moe_experts=4)
    expected = model.loss_terms(batch_of(IDS), training=True)
    routed = LanguageModel(**SHAPE, block_pattern="segment_mean+moe, attention+mlp", num_moe_experts=4)
    routed.set_weights(model.get_weights())
    without = routed.loss_terms(batch_of(IDS), training=True)
    assert set(expected["metrics"]) - set(without["metrics"]) == {"activation/size"}
    assert float(expected["metrics"]["router/load_entropy"]) == float(
        without["metrics"]["router/load_entropy"]
    )
    assert float(expected["aux_loss"]) > float(without["aux_loss"])
    assert model.activation_bytes(2, 8) is not None
    model.backbone.gradient_checkpointing = is_checkpointed
    model.backbone.compiles_parts = is_compiled
    terms = model.loss_terms(batch_of(IDS), training=True)
    for name in ("loss_sum", "aux_loss"):
        assert float(terms[name]) == pytest.approx(float(expected[name]), rel=1e-5)
    assert float(terms["metrics"]["activation/size"]) == pytest.approx(
        float(expected["metrics"]["activation/size"]), rel=1e-5
    )


def test_a_model_that_sees_later_tokens_is_refused_where_it_would_cheat():
    config = ModelConfig(**SHAPE, block_pattern="all_mean+mlp, attention+mlp")
    with pytest.raises(ConfigError, match="the mixer `all_mean` lets tokens see later ones"):
        hn.create_model(config)
    with pytest.raises(ConfigError, match="`task` must be one of generation, classification"):
        hn.create_model(config, task="translation")
    model = hn.create_model(config, task="classification")
    assert not model.is_causal and model(IDS).shape == (2, 11, 60)
    with pytest.raises(ConfigError, match="cannot generate"):
        model.generate(IDS, max_length=2)
    with pytest.raises(ConfigError, match="cannot learn to predict the next token"):
        model.loss_terms(batch_of(IDS))


def test_a_part_and_its_layer_agree_on_causality():
    @register_part("wrong_mean")
    class Wrong(SegmentMeanPart):
        def build(self, config, **kwargs):
            return SegmentMean(is_causal=False, **kwargs)

    with pytest.raises(ConfigError, match="must have the same `is_causal`; received True and False"):
        LanguageModel(**SHAPE, block_pattern="wrong_mean+mlp")


def test_a_name_belongs_to_one_part():
    with pytest.raises(ConfigError, match="`mamba2` exists already"):
        register_part("mamba2")(SegmentMeanPart)
    with pytest.raises(ConfigError, match="letters, digits and underscores; received 'my part'"):
        register_part("my part")(SegmentMeanPart)
    with pytest.raises(ConfigError, match="must be a subclass of MixerPart or FeedForwardPart"):
        register_part("mean")(SegmentMean)
    assert issubclass(PARTS["moe"], FeedForwardPart)


def test_a_mixer_that_sees_padding_is_found():
    class Leaking(SegmentMean):
        def call(self, x, segment_ids=None, positions=None, training=None):
            return super().call(x)

    with pytest.raises(AssertionError, match="padding changes tokens"):
        check_mixer(Leaking(is_causal=False), width=8)
