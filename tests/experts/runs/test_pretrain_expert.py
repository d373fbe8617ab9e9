"""Experts are trained by ordinary runs: resumed to the bit, and refused where they do not fit."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal

import numpy as np
import pytest

from highnoon.config import ConfigError
from highnoon.experts.runs import Resuming
from highnoon.files.step_folders import CheckpointError, step_folders
from highnoon.models.arrays import load_arrays
from tests.experts.runs.conftest import EPOCHS, pretrain, route, shape

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved."""


def kill_at(step):
    def kill(event):
        if event["event"] == "step_end" and event["step"] == step:
            raise Killed

    return kill


def kill_at_begin(event):
    if event["event"] == "train_begin":
        raise Killed


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of all that was trained."""
    for name in ("data", "checkpoints"):
        shutil.copytree(trained.folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_CACHE", str(trained.folder / "cache"))
    return tmp_path


def arrays(path) -> dict[str, np.ndarray]:
    path = pathlib.Path(path)
    return load_arrays(path / "model.safetensors") | load_arrays(path / "optimizer.safetensors")


def assert_same(one, other) -> None:
    one, other = arrays(one), arrays(other)
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def steps_there(name: str) -> list[int]:
    return [int(folder.name[5:]) for folder in step_folders(pathlib.Path("checkpoints", name, "checkpoints"))]


def test_a_router_killed_within_an_epoch_and_resumed_ends_with_the_bits_of_one_that_was_not(folder, trained):
    shutil.move("checkpoints/nanothink_mla", "whole")
    with pytest.raises(Killed):
        route(callbacks=[kill_at(3 * trained.steps + 1)])
    assert steps_there("nanothink_mla")[-1] == 3 * trained.steps
    route(resuming=Resuming(True))
    assert_same("checkpoints/nanothink_mla/model", "whole/model")


def test_an_expert_interrupted_then_killed_and_resumed_both_times_ends_with_the_bits_of_one_that_was_not(
    folder, trained
):
    def interrupt(event):
        if event["event"] == "step_end" and event["step"] == trained.steps + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    shutil.move("checkpoints/transformer_expert", "whole")
    with pytest.raises(SystemExit):
        pretrain(callbacks=[interrupt])
    interrupted = pathlib.Path("checkpoints/transformer_expert/checkpoints/interrupted")
    assert interrupted.read_text().startswith(f"step_{trained.steps + 1:08d}")
    with pytest.raises(Killed):
        resuming = Resuming("checkpoints/transformer_expert_interrupted.pt")
        pretrain(resuming=resuming, callbacks=[kill_at(3 * trained.steps + 1)])
    assert steps_there("transformer_expert")[-1] == 3 * trained.steps and interrupted.exists()
    pretrain(resuming=Resuming(True))
    assert_same("checkpoints/transformer_expert/model", "whole/model")
    assert not interrupted.exists()


def test_another_experts_checkpoint_is_refused_with_the_difference(folder):
    with pytest.raises(CheckpointError) as error:
        pretrain("state_space", resuming=Resuming("checkpoints/transformer_expert_epoch5.pt"))
    assert "must be a checkpoint of state_space_expert; it is of transformer_expert" in str(error.value)
    assert "block_pattern is mamba here and attention+mlp there" in str(error.value)


def test_a_longer_horizon_needs_extend_which_shows_both_learning_rates(folder, trained, capsys):
    longer = {"epochs": EPOCHS + 1}
    with pytest.raises(CheckpointError, match=r"epochs is 7 now, 6 in the checkpoint.*--extend"):
        pretrain(training=longer, resuming=Resuming(True))
    with pytest.raises(Killed):
        resuming = Resuming("transformer_expert_epoch5", extend=True)
        pretrain(training=longer, resuming=resuming, verbose=True, callbacks=[kill_at_begin])
    printed = capsys.readouterr().out
    assert "learning rate of the longer run:" in printed
    assert f"now, {7 * trained.steps} steps  before, {6 * trained.steps} steps" in printed


def test_other_weights_are_refused_with_their_names_and_begin_a_new_run_where_most_of_them_fit(
    folder, capsys
):
    wider = shape(ffn_dim=10)
    with pytest.raises(CheckpointError) as error:
        pretrain(model=wider, resuming=Resuming(True))
    assert "ffn_dim is 10 here and 8 there" in str(error.value) and "missing (" in str(error.value)
    resuming = Resuming(True, allow_partial=True)
    with pytest.raises(ValueError, match=r"at least 90% of the parameters must fit"):
        pretrain(model=shape(num_reasoning_blocks=3), resuming=resuming)
    with pytest.raises(Killed):
        pretrain(model=wider, resuming=resuming, callbacks=[kill_at_begin])
    assert "a new run begins with them, at step 0" in capsys.readouterr().out


def test_the_steps_between_checkpoints_follow_from_the_epochs(folder):
    with pytest.raises(ConfigError, match="`keep_every` follows from `snapshot_epochs`"):
        pretrain(keep_every=3)


def test_a_transformer_whose_description_is_damaged_is_named_before_the_diffuser_is_trained(folder):
    pathlib.Path("checkpoints/transformer_expert/model/config.json").write_text("{}")
    with pytest.raises(ConfigError, match="must say its embedding_dim in config.json, which is damaged"):
        pretrain("diffuser", model={})


def test_options_of_resuming_need_a_resumed_run():
    with pytest.raises(ConfigError, match="--extend is for a resumed run"):
        Resuming(extend=True)
