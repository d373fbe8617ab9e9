"""A router's run: its experts never change, are in no checkpoint, and are refused where they do not fit."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.experts.diffuser.gaussian_diffuser import GaussianDiffuser
from highnoon.experts.runs import Resuming, assemble_mixture, build_vector_store
from highnoon.experts.runs.evaluate_router import evaluate_router
from highnoon.experts.runs.train_router import read_experts
from highnoon.files.step_folders import CheckpointError, step_folders
from highnoon.models.arrays import load_arrays
from highnoon.tokenization import BytePairTokenizer
from highnoon.training.frozen_models import weights_hash
from tests.experts.runs.conftest import EXPERTS, pretrain, route, shape

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    for name in ("data", "checkpoints"):
        shutil.copytree(trained.folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_CACHE", str(trained.folder / "cache"))
    return tmp_path


def change(expert: str) -> None:
    """Saves an expert again with one weight moved."""
    model = hn.load_model(f"checkpoints/{expert}_expert/model")
    model.weights[0].assign(model.weights[0] + 0.1)
    shutil.rmtree(f"checkpoints/{expert}_expert/model")
    hn.save_model(model, f"checkpoints/{expert}_expert/model")


def test_checkpoints_hold_the_router_alone_and_the_hashes_of_experts_that_did_not_change(folder):
    experts = [hn.load_model(f"checkpoints/{name}_expert") for name in EXPERTS]
    router = hn.load_model("checkpoints/nanothink_mla")
    assert router.outputs_description["expert_hashes"] == [weights_hash(expert) for expert in experts]
    values = {np.asarray(w).tobytes() for expert in experts for w in expert.weights if np.size(w) > 16}
    for step in step_folders(pathlib.Path("checkpoints/nanothink_mla/checkpoints")):
        saved = load_arrays(step / "model.safetensors") | load_arrays(step / "optimizer.safetensors")
        assert not [name for name, array in saved.items() if array.tobytes() in values]


def test_a_mixture_contains_its_experts_or_names_them_and_generates(folder):
    path = assemble_mixture()
    named = hn.load_model(assemble_mixture(output="named", contains_experts=False))
    mixture = hn.load_model(path)
    assert path == pathlib.Path("checkpoints/nanothink") and mixture.generate("the ", max_length=2)
    token_ids = np.array([[3, 80, 90]])
    np.testing.assert_array_equal(np.asarray(mixture(token_ids)), np.asarray(named(token_ids)))
    sizes = [(pathlib.Path(where) / "model.safetensors").stat().st_size for where in (path, "named")]
    assert sizes[0] > 2 * sizes[1]


def test_the_evaluation_is_that_of_the_routers_best_checkpoint(folder):
    figures = evaluate_router()
    assert figures["mixture"]["loss"] <= np.mean([one["loss"] for one in figures["experts"]])
    state = json.loads(next(pathlib.Path("checkpoints/nanothink_mla/model").glob("state.json")).read_text())
    lowest = state["run"]["progress"]["lowest_val_loss"]
    assert figures["mixture"]["loss"] == pytest.approx(lowest, rel=1e-5)


def test_an_expert_that_changed_is_refused_by_its_hash(folder):
    change("state_space")
    with pytest.raises(ConfigError, match=r"`experts\[1\]` must have weights .*; received "):
        assemble_mixture()
    with pytest.raises(CheckpointError, match=r"state_space_expert/model must have weights .* has changed"):
        route(resuming=Resuming(True))


def test_a_fusion_of_hidden_states_is_resumed_over_the_same_experts_alone(folder):
    shutil.rmtree("checkpoints/nanothink_mla")
    hidden = {"fusion": "hidden", "training": {"epochs": 1}, "experts": ["transformer", "state_space"]}
    route(**hidden)
    with pytest.raises(ConfigError, match="must mix distributions to be compared with its experts"):
        evaluate_router()
    with pytest.raises(ConfigError, match="`experts` must be left out"):
        assemble_mixture(experts=["checkpoints/transformer_expert", "checkpoints/state_space_expert"])
    shutil.copytree("checkpoints/state_space_expert/model", "third")
    with pytest.raises(CheckpointError, match="there must be 2 experts, with which .* received 3"):
        route(**{**hidden, "experts": [*EXPERTS, "third"]}, resuming=Resuming(True))
    change("state_space")
    with pytest.raises(CheckpointError, match=r"state_space_expert/model must have weights .* has changed"):
        route(**hidden, resuming=Resuming(True))


def test_a_diffuser_given_by_its_path_is_refused_as_one_given_by_name(folder):
    diffuser = GaussianDiffuser(state_dim=8, num_reasoning_blocks=1, max_seq_length=16, num_heads=1)
    transformer = hn.load_model("checkpoints/transformer_expert")
    diffuser.tokenizer = transformer.tokenizer
    hn.save_model(diffuser, "denoiser")
    with pytest.raises(ConfigError, match="`denoiser` predicts hidden states and no distribution"):
        read_experts(["transformer", "denoiser"], "checkpoints")
    with pytest.raises(ConfigError, match="must have a language model; received denoiser, denoiser"):
        read_experts(["denoiser", "denoiser"], "checkpoints", may_be_states=True)


def test_a_missing_expert_is_refused_with_the_command_that_trains_it(folder):
    with pytest.raises(ConfigError, match="first run: highnoon experts pretrain --expert diffusion"):
        route(experts=("transformer", "diffusion"))
    with pytest.raises(ConfigError, match="there is no expert `no/where`"):
        route(experts=("transformer", "no/where"))
    with pytest.raises(ConfigError, match=r"`num_experts` .* must be 2"):
        from highnoon.experts.runs import train_router

        train_router({"num_experts": 3}, hn.TrainingConfig(), {}, experts=EXPERTS)


def test_experts_of_different_tokenizers_are_refused_by_hash(folder):
    other = hn.create_model(dataclasses.replace(shape(), vocab_size=270, block_pattern="mamba"))
    other.tokenizer = BytePairTokenizer(270).train(["data/days/texts.jsonl"])
    hn.save_model(other, "other")
    with pytest.raises(ConfigError, match="`other` must have the tokenizer of checkpoints/tokenizer, whose"):
        route(experts=("transformer", "other"))


def test_the_diffuser_before_its_transformer_is_refused_with_the_command_to_run_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="first run: highnoon experts pretrain --expert transformer"):
        pretrain("diffuser")


def test_a_vector_store_of_the_transformer_is_measured_on_held_out_text(folder):
    found = build_vector_store({"datasets": ["data"]}, validation_split=0.2)
    assert (folder / "checkpoints/vector_store/memory.json").is_file()
    assert found.num_tokens > 0 and found.loss < found.loss_without
