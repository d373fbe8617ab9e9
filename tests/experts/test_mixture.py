"""The mixture as a language model: causal, cached, trained by its router alone, saved and loaded."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import ops

import highnoon as hn
from highnoon.config import ConfigError, ModelConfig
from highnoon.data import Files, PackedRows, tokenize
from highnoon.evaluation import evaluate_model
from highnoon.experts import ExpertRouter, MixtureOfModels
from highnoon.experts.expert_kinds import KINDS, ExpertKind, register_expert_kind
from highnoon.inference import StatefulWrapper
from highnoon.models import ModelFolderError
from highnoon.models.arrays import load_arrays
from highnoon.testing import check_model as battery
from highnoon.tokenization import BytePairTokenizer, ByteTokenizer
from highnoon.training.checkpoints import snapshot
from highnoon.training.frozen_models import weights_hash

PATTERNS = ("attention+mlp", "mamba2")
SHAPE = {"embedding_dim": 16, "num_reasoning_blocks": 1, "num_heads": 2, "ffn_dim": 24, "state_dim": 4}
ROUTER = {"embedding_dim": 16, "num_heads": 2, "ffn_dim": 24}
CONFIG = ModelConfig(vocab_size=23, max_seq_length=32, **SHAPE)
TOKEN_IDS = np.random.default_rng(0).integers(1, 23, (3, 9)).astype("int32")


class PoolingRouter(ExpertRouter):
    """Weighs the experts by the mean of the row, which holds tokens that are yet to come."""

    def call(self, inputs, training=None):
        hidden = self.backbone(inputs, training=training)
        return self.log_weights_of(ops.mean(hidden, axis=1, keepdims=True) + 0 * hidden)


def make_expert(pattern, vocab_size=23, seed=0, dtype=None):
    keras.utils.set_random_seed(seed)
    model = hn.LanguageModel(
        vocab_size=vocab_size, max_seq_length=32, block_pattern=pattern, dtype=dtype, **SHAPE
    )
    battery._wake(model)
    return model


def make_mixture(vocab_size=23, dtype=None, router_class=ExpertRouter, **fields):
    """A mixture in place of the model that the battery makes of a configuration."""
    experts = [make_expert(pattern, vocab_size, seed, dtype) for seed, pattern in enumerate(PATTERNS)]
    keras.utils.set_random_seed(9)
    router = router_class.for_experts(experts, dtype=dtype, **ROUTER)
    return MixtureOfModels(experts, router)


def awake_mixture(**fields):
    mixture = make_mixture(**fields)
    battery._wake(mixture)
    return mixture


def byte_mixture():
    mixture = awake_mixture(vocab_size=263)
    mixture.tokenizer = ByteTokenizer()
    return mixture


@pytest.mark.slow
def test_the_mixture_passes_the_battery_of_a_language_model():
    battery.check_causality(CONFIG, model_class=make_mixture)
    battery.check_packing(CONFIG, make_mixture)
    battery.check_batch_mates(CONFIG, make_mixture)
    battery.check_cached_decoding(CONFIG, model_class=make_mixture)
    battery.check_loss(CONFIG, make_mixture)
    battery.check_gradient(CONFIG, make_mixture)


def test_the_battery_fails_for_a_router_that_pools_over_time():
    with pytest.raises(AssertionError, match="change earlier logits"):
        battery.check_causality(CONFIG, model_class=lambda **f: make_mixture(router_class=PoolingRouter, **f))
    with pytest.raises(AssertionError, match="pads decodes otherwise|is not as alone"):
        battery.check_packing(CONFIG, lambda **f: make_mixture(router_class=PoolingRouter, **f))


def test_later_tokens_and_padding_and_batch_mates_change_nothing():
    mixture = awake_mixture()
    before = np.asarray(mixture(TOKEN_IDS))
    changed = TOKEN_IDS.copy()
    changed[:, 5:] = 1 + changed[:, 5:] % 22
    after = np.asarray(mixture(changed))
    np.testing.assert_allclose(after[:, :5], before[:, :5], atol=1e-5)
    assert np.abs(after[:, 5:] - before[:, 5:]).max() > 1e-2
    mask = np.arange(9) < np.array([[9], [4], [7]])
    padded = np.asarray(mixture({"token_ids": TOKEN_IDS * mask, "padding_mask": mask.astype("int32")}))
    for row, length in enumerate([9, 4, 7]):
        alone = np.asarray(mixture(TOKEN_IDS[row : row + 1, :length]))[0]
        np.testing.assert_allclose(padded[row, :length], alone, atol=1e-5)


def test_the_distribution_is_that_of_a_naive_sum_and_adds_up_to_one():
    mixture = awake_mixture()
    weights = np.exp(np.asarray(mixture.router(TOKEN_IDS), np.float64))
    probs = [np.exp(np.asarray(ops.log_softmax(e(TOKEN_IDS)), np.float64)) for e in mixture.experts]
    expected = sum(weights[..., k, None] * probs[k] for k in range(2))
    found = np.exp(np.asarray(mixture(TOKEN_IDS), np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert weights.std() > 1e-2 and np.abs(probs[0] - probs[1]).max() > 1e-2


def test_a_new_mixture_loses_at_most_the_mean_of_its_experts(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"the {n}th line of the text" for n in range(40)))
    store = tokenize(Files(tmp_path / "a.txt", split="line"), ByteTokenizer(), tmp_path, validation_split=0.0)
    rows = PackedRows([store], row_length=24)
    mixture = make_mixture(vocab_size=263)
    losses = [evaluate_model(expert, rows).loss for expert in mixture.experts]
    assert evaluate_model(mixture, rows).loss < np.mean(losses) - 1e-3


def test_router_alone_is_trained_and_the_experts_keep_their_hashes():
    mixture = awake_mixture()
    hashes = mixture.expert_hashes
    assert {id(w) for w in mixture.trainable_weights} == {id(w) for w in mixture.router.trainable_weights}
    batch = battery._batch(CONFIG, rows=2, length=8)
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(mixture.trainable_variables)
    step = battery.gradient_step(
        lambda: mixture.loss_terms(batch, training=True)["loss_sum"], mixture.trainable_variables, optimizer
    )
    before = float(mixture.loss_terms(batch, training=False)["loss_sum"])
    for _ in range(5):
        step()
    assert float(mixture.loss_terms(batch, training=False)["loss_sum"]) < before - 1e-3
    assert tuple(map(weights_hash, mixture.experts)) == hashes
    mixture.require_unchanged()
    mixture.experts[1].weights[0].assign_add(ops.ones_like(mixture.experts[1].weights[0]))
    with pytest.raises(ConfigError, match=r"`experts\[1\]` must have weights .*; received"):
        mixture.require_unchanged()


@pytest.mark.slow
def test_a_saved_mixture_contains_its_experts_and_generates_as_before(tmp_path):
    mixture = byte_mixture()
    mixture.router.outputs_description = {"expert_hashes": list(mixture.expert_hashes)}
    folder = hn.save_model(mixture, tmp_path / "mixture")
    again = hn.load_model(folder)
    assert type(again) is MixtureOfModels and again.tokenizer.vocab_size == 263
    assert again.expert_hashes == mixture.expert_hashes
    assert again.router.outputs_description == mixture.router.outputs_description
    np.testing.assert_array_equal(again(TOKEN_IDS), mixture(TOKEN_IDS))
    options = {"max_length": 12, "seed": 1}
    text = mixture.generate("To be", **options)
    assert again.generate("To be", **options) == text and text.startswith("To be")
    assert again.generate_batch(["To be"], **options) == [text]
    greedy = mixture.generate(TOKEN_IDS[:1], max_length=6, temperature=0, tokenizer=None)
    for length in range(9, 15):
        logits = np.asarray(mixture(np.asarray(greedy)[:, :length]))[0, -1]
        assert logits[greedy[0][length]] >= logits[:263].max() - 1e-5
    chat = StatefulWrapper(again)
    chat.add_user_message("Hello")
    assert isinstance(chat.generate(max_length=4, seed=1), str)


@pytest.fixture
def paths(tmp_path):
    folders = []
    for seed, pattern in enumerate(PATTERNS):
        expert = make_expert(pattern, 263, seed)
        expert.tokenizer = ByteTokenizer()
        folders.append(str(hn.save_model(expert, tmp_path / f"expert_{seed}")))
    return folders


def test_a_mixture_may_name_its_experts_by_path_and_hash(paths, tmp_path):
    mixture = hn.create_model("expert_mixture", experts=paths, contains_experts=False, **ROUTER)
    battery._wake(mixture)
    folder = hn.save_model(mixture, tmp_path / "mixture")
    arrays = load_arrays(folder / "model.safetensors")
    assert len(arrays) == len(mixture.router.weights) < len(mixture.weights)
    described = json.loads((folder / "config.json").read_text())["experts"]
    assert [entry["hash"] for entry in described] == list(mixture.expert_hashes)
    again = hn.load_model(folder)
    assert again.tokenizer.fingerprint() == ByteTokenizer().fingerprint() and not again.contains_experts
    np.testing.assert_array_equal(again(TOKEN_IDS), mixture(TOKEN_IDS))
    other = make_expert(PATTERNS[1], 263, seed=7)
    other.tokenizer = ByteTokenizer()
    hn.save_model(other, paths[1])
    with pytest.raises(
        ModelFolderError, match=r"`experts\[1\]`, the model at .*_1, must have weights"
    ) as error:
        hn.load_model(folder)
    assert "\n" not in str(error.value)
    (tmp_path / "expert_0").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelFolderError, match=r"`experts\[0\]` cannot be loaded: no model at .*_0"):
        hn.load_model(folder)


def test_experts_below_the_home_folder_are_found_again(paths, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    names = [f"~/expert_{number}" for number in range(len(paths))]
    folder = hn.save_model(MixtureOfModels(names, contains_experts=False, **ROUTER), "~/mixture")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert hn.load_model(folder).expert_paths == tuple(paths)


def changed(folder, apply):
    """Changes the description of a saved model, as a hand or a stranger does."""
    file = folder / "config.json"
    description = json.loads(file.read_text())
    apply(description)
    file.write_text(json.dumps(description))
    (folder / "manifest.json").unlink(missing_ok=True)


def test_a_mixture_that_is_its_own_expert_is_refused(paths, tmp_path):
    folder = hn.save_model(MixtureOfModels(paths, contains_experts=False, **ROUTER), tmp_path / "mixture")
    changed(folder, lambda description: description["experts"][0].update(path=str(folder)))
    with pytest.raises(
        ModelFolderError, match="must be another model than the one that it is a part of"
    ) as error:
        hn.load_model(folder)
    assert "\n" not in str(error.value)
    # What failed is not taken for what is still being loaded.
    changed(folder, lambda description: description["experts"][0].update(path=paths[0]))
    assert hn.load_model(folder).expert_paths == tuple(paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": {"topk": 1}}, "no option `topk`|option.*topk.*top_k"),
        ({"options": {"contains_experts": True}}, "option.*contains_experts"),
        ({"options": {"top_k": 9}}, "`top_k` must be"),
        ({"options": {"top_k": "all"}}, "`top_k` must be a whole number"),
        ({"router": {"path": "x", "hash": "y"}}, "model family"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(paths, tmp_path, change, message):
    folder = hn.save_model(MixtureOfModels(paths, contains_experts=False, **ROUTER), tmp_path / "mixture")
    changed(folder, lambda description: description.update(change))
    with pytest.raises(ModelFolderError, match=message) as error:
        hn.load_model(folder)
    assert "\n" not in str(error.value)


def test_an_expert_inside_a_mixture_that_does_not_fit_into_memory_is_refused(tmp_path):
    folder = hn.save_model(awake_mixture(), tmp_path / "mixture")
    changed(folder, lambda description: description["experts"][1]["model"].update(vocab_size=2**31 - 1))
    with pytest.raises(hn.LimitExceededError):
        hn.load_model(folder)


def test_a_checkpoint_of_a_mixture_that_names_its_experts_holds_none(paths, tmp_path):
    mixture, other = (MixtureOfModels(paths, contains_experts=False, **ROUTER) for _ in range(2))
    battery._wake(mixture)
    (tmp_path / "step").mkdir()
    snapshot.capture(mixture, None, None, None, {})(tmp_path / "step")
    shapes = {array.shape for array in load_arrays(tmp_path / "step" / "model.safetensors").values()}
    assert shapes == {weight.shape for weight in mixture.router.weights}
    snapshot.require_same_model(other, tmp_path / "step")
    snapshot.restore_model(other, tmp_path / "step")
    np.testing.assert_array_equal(other(TOKEN_IDS), mixture(TOKEN_IDS))


def test_a_router_refuses_experts_that_it_was_not_trained_with(paths):
    experts = [hn.load_model(path) for path in paths]
    router = ExpertRouter.for_experts(experts, **ROUTER)
    router.outputs_description = {"expert_hashes": [weights_hash(expert) for expert in experts]}
    assert MixtureOfModels(paths, router).expert_hashes == tuple(map(weights_hash, experts))
    with pytest.raises(ConfigError, match=r"`experts\[0\]` must have weights .* the router was trained"):
        MixtureOfModels(paths[::-1], router)


class Shifted(ExpertKind):
    """Predicts the id after the last one."""

    name = "shifted"

    def token_log_probs(self, model, batch):
        is_next = ops.cast(ops.equal(batch["labels"], batch["token_ids"] + 1), "float32")
        return ops.where(batch["loss_weights"] > 0, 20.0 * (is_next - 1.0), 0.0)

    def initial_cache(self, model, batch_size, max_length):
        return {"seen": ops.zeros((batch_size,), "int32")}

    def decode(self, model, token_ids, cache, index, padding=None):
        return 20.0 * ops.one_hot(token_ids + 1, 23), {"seen": cache["seen"] + token_ids.shape[1]}


def test_an_expert_of_another_kind_is_read_and_decoded_by_it(monkeypatch):
    monkeypatch.setattr(KINDS, "_classes", dict(KINDS._classes))
    register_expert_kind(Shifted)
    experts = [make_expert(PATTERNS[0]), make_expert(PATTERNS[0], seed=1)]
    experts[1].outputs_description = {"expert_kind": "shifted"}
    mixture = MixtureOfModels(experts, **ROUTER)
    logits = np.asarray(mixture(TOKEN_IDS))
    np.testing.assert_array_equal(logits.argmax(-1), np.minimum(TOKEN_IDS + 1, 22))
    cache = mixture.initial_cache(3, 9)
    first, cache = mixture.decode(TOKEN_IDS[:, :6], cache, 0)
    last, cache = mixture.decode(TOKEN_IDS[:, 6:], cache, 6)
    np.testing.assert_allclose(np.concatenate([first, last], axis=1), logits, atol=1e-5)
    assert np.asarray(cache["expert_1"]["seen"]).tolist() == [9, 9, 9]


def other_tokenizer():
    expert = make_expert(PATTERNS[0], 280)
    expert.tokenizer = BytePairTokenizer(280).train_from_texts(["sun moon star"] * 5)
    return expert


def byte_expert():
    expert = make_expert(PATTERNS[0], 280)
    expert.tokenizer = ByteTokenizer()
    return expert


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixtureOfModels([make_expert(PATTERNS[0])]), "list of at least two models or paths"),
        (
            lambda: MixtureOfModels([byte_expert(), other_tokenizer()]),
            r"`experts\[1\]` must have the tokenizer",
        ),
        (
            lambda: MixtureOfModels([make_expert(PATTERNS[0]), make_expert(PATTERNS[0], 24)]),
            r"must have the vocab_size=23 of `experts\[0\]`; received 24",
        ),
        (
            lambda: MixtureOfModels([make_expert(PATTERNS[0])] * 2, contains_experts=False),
            r"`experts\[0\]` must be a path where contains_experts=False",
        ),
        (
            lambda: MixtureOfModels([make_expert(PATTERNS[0])] * 2, ExpertRouter(3, 23, **ROUTER)),
            "`router` must be an ExpertRouter of num_experts=2; received .* of 3",
        ),
        (
            lambda: MixtureOfModels([make_expert(PATTERNS[0])] * 2, ExpertRouter(2, 24, **ROUTER)),
            "`router` must have the vocab_size=23 of the experts; received 24",
        ),
        (
            lambda: MixtureOfModels(["nowhere/a", "nowhere/b"]),
            r"`experts\[0\]` cannot be loaded: no model at nowhere/a",
        ),
        (
            lambda: MixtureOfModels([make_expert(PATTERNS[0])] * 2, ExpertRouter(2, 23, **ROUTER), ffn_dim=8),
            "a router has its own ffn_dim",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(make, message):
    with pytest.raises(ConfigError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
