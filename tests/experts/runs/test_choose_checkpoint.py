"""A run of an expert resumes from its highest step, or from the checkpoint that is given."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from highnoon.experts.runs import Resuming
from highnoon.experts.runs.choose_checkpoint import choose_checkpoint, view_of
from highnoon.files.folder_manifest import write_manifest
from highnoon.files.step_folders import CheckpointError, epochs_of, in_checkpoints, point_at, step_folders
from highnoon.models.find_model import find_model

pytestmark = pytest.mark.slow


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> pathlib.Path:
    """A copy of the transformer's run."""
    shutil.copytree(trained.folder / "checkpoints" / "transformer_expert", tmp_path / "c/transformer_expert")
    monkeypatch.chdir(tmp_path)
    return pathlib.Path("c/transformer_expert")


def steps_of(run: pathlib.Path) -> list[pathlib.Path]:
    return step_folders(run / "checkpoints")


def test_resume_alone_takes_the_highest_step_and_says_why(run, trained):
    choice = choose_checkpoint(run, True)
    last, snapshot = 6 * trained.steps, 5 * trained.steps
    assert choice.folder == steps_of(run)[-1]
    assert f"step {last}: the highest step of this run" in choice.line
    assert f"transformer_expert_epoch5 is of step {snapshot}" in choice.line


def test_an_interrupted_checkpoint_that_is_older_than_the_newest_snapshot_is_not_taken(run, trained):
    shutil.rmtree(steps_of(run)[-1])
    point_at(steps_of(run)[0], "interrupted")
    choice = choose_checkpoint(run, True)
    assert epochs_of(choice.folder) == 5
    assert "resuming from transformer_expert_epoch5" in choice.line
    assert f"transformer_expert_interrupted is of step {4 * trained.steps}" in choice.line


def test_an_interrupted_checkpoint_that_is_the_newest_is_taken(run):
    point_at(steps_of(run)[-1], "interrupted")
    choice = choose_checkpoint(run, True)
    assert choice.folder == steps_of(run)[-1] and "from transformer_expert_interrupted" in choice.line


@pytest.mark.parametrize("suffix", ["", ".pt"])
def test_a_name_or_a_path_is_taken_whatever_is_newer(run, suffix):
    for given in (f"c/transformer_expert_epoch5{suffix}", f"transformer_expert_epoch5{suffix}"):
        assert epochs_of(choose_checkpoint(run, given).folder) == 5
    point_at(steps_of(run)[0], "interrupted")
    point_at(steps_of(run)[1], "best")
    assert choose_checkpoint(run, f"transformer_expert_interrupted{suffix}").folder == steps_of(run)[0]
    assert choose_checkpoint(run, f"c/transformer_expert{suffix}").folder == steps_of(run)[1]


def test_a_damaged_checkpoint_is_skipped_with_a_warning_that_names_it_and_refused_where_it_is_given(run):
    newest, before = steps_of(run)[-1], steps_of(run)[-2]
    (newest / "optimizer.safetensors").write_bytes(b"cut")
    with pytest.warns(UserWarning, match=rf"{newest} is skipped, since it is damaged: optimizer"):
        assert choose_checkpoint(run, True).folder == before
    with pytest.raises(CheckpointError, match=r"is damaged: optimizer.*--resume alone"):
        choose_checkpoint(run, str(newest))


def test_a_checkpoint_of_another_run_in_the_same_folder_is_skipped(run):
    other = steps_of(run)[-1].with_name("step_00009999")
    shutil.copytree(steps_of(run)[0], other)
    state = json.loads((other / "state.json").read_text()) | {"run_id": "0123abcd"}
    (other / "state.json").write_text(json.dumps(state))
    (other / "manifest.json").unlink()
    write_manifest(other)
    with pytest.warns(UserWarning, match="step_00009999 is skipped, since it is of the run 0123abcd"):
        assert choose_checkpoint(run, True).folder == steps_of(run)[-2]


def test_a_run_resumes_its_own_checkpoints_alone(run):
    run_id = json.loads((steps_of(run)[0] / "state.json").read_text())["run_id"]
    assert choose_checkpoint(run, True, run_id=run_id).folder == steps_of(run)[-1]
    with pytest.warns(UserWarning, match="is skipped, since it is of the run"):
        assert choose_checkpoint(run, True, run_id="0123abcd") is None


def test_a_folder_without_checkpoints_and_an_empty_path_are_refused(run):
    pathlib.Path("checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint at checkpoints; there are"):
        choose_checkpoint(run, "checkpoints")
    assert Resuming("").is_resumed and not Resuming(False).is_resumed
    with pytest.raises(CheckpointError):
        choose_checkpoint(run, "")


def test_a_state_without_a_format_is_skipped_in_place_of_ending_the_run(run):
    newest = steps_of(run)[-1]
    (newest / "state.json").write_text("{}")
    (newest / "manifest.json").unlink()
    write_manifest(newest)
    with pytest.warns(UserWarning, match=f"{newest.name} is skipped"):
        assert choose_checkpoint(run, True).folder == steps_of(run)[-2]


def test_every_name_that_an_error_lists_can_be_given(run):
    with pytest.raises(CheckpointError) as error:
        choose_checkpoint(run, "transformer_expert_epoch9")
    names = str(error.value).partition("there are ")[2].split(", ")
    assert [choose_checkpoint(run, name).folder for name in [*names, steps_of(run)[0].name]]


def test_an_epoch_that_is_infinite_is_none(tmp_path):
    progress = {"num_allowed": 0, "stages_completed": [], "epoch": float("inf")}
    (tmp_path / "state.json").write_text(json.dumps({"run": {"progress": progress}}))
    assert epochs_of(tmp_path) is None


def test_nothing_to_resume_is_none_and_a_name_without_a_checkpoint_lists_those_that_there_are(run):
    assert choose_checkpoint(pathlib.Path("c/state_space_expert"), True) is None
    with pytest.raises(CheckpointError, match=r"epoch9; there are transformer_expert_epoch4, .*_epoch5"):
        choose_checkpoint(run, "transformer_expert_epoch9")


def test_every_snapshot_of_five_epochs_stays_and_the_names_are_paths_of_models_too(run):
    names = [view_of(folder, run) for folder in steps_of(run)]
    assert "transformer_expert_epoch5" in names
    snapshot = next(folder for folder in steps_of(run) if epochs_of(folder) == 5)
    assert find_model("c/transformer_expert_epoch5.pt") == snapshot
    assert in_checkpoints(pathlib.Path("c/transformer_expert.pt")) == run / "checkpoints"
    assert find_model("c/transformer_expert") == run / "model"
