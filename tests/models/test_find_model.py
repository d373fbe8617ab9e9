"""A path of a run, its checkpoints or a role in it means a model, wherever a model is read."""

import json
import pathlib

import pytest

import highnoon as hn
from highnoon.files.step_folders import point_at
from highnoon.models import ModelFolderError, find_model
from highnoon.training.checkpoints.checkpoint import CheckpointError, find_checkpoint
from highnoon.training.checkpoints.inspection import find_folders


def make_model_folder(path):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"format": "highnoon-model"}))
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of three checkpoints that has not ended; the second is the best."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    checkpoints = pathlib.Path("run/checkpoints")
    for step in (10, 20, 30):
        make_model_folder(checkpoints / f"step_{step:08d}")
    point_at(checkpoints / "step_00000020", "best")
    point_at(checkpoints / "step_00000030", "latest")
    pathlib.Path("run/recipe.yaml").write_text("stages: []")
    return pathlib.Path("run")


@pytest.mark.parametrize(
    "path, step",
    [
        ("run", 20),
        ("run/", 20),
        ("~/run", 20),
        ("run/checkpoints", 20),
        ("run/best", 20),
        ("run/latest", 30),
        ("run/checkpoints/latest", 30),
        ("run/checkpoints/step_00000010", 10),
        ("run/checkpoints/hatching_step_10.pt", 10),
        ("run/hatching_step_10", 10),
        ("run/hatching_best.pt", 20),
        ("run/checkpoints/hatching_best", 20),
    ],
)
def test_the_paths_of_a_run_mean_its_models(run, path, step):
    assert find_model(path).resolve() == (run / f"checkpoints/step_{step:08d}").resolve()


def test_a_run_that_has_ended_means_its_model_and_an_incomplete_one_does_not(run):
    (run / "model").mkdir()
    assert find_model(run).name == "step_00000020"
    (run / "model/config.json").write_text("{}")
    assert find_model(run) == run / "model"
    (run / "model/manifest.json").write_text('{"model.safetensors": {"bytes": 9, "blake2b": "0"}}')
    assert find_model(run).name == "step_00000020"


def test_without_a_best_checkpoint_the_highest_step_is_taken(run):
    (run / "checkpoints/best").unlink()
    assert find_model(run).name == "step_00000030"


def test_a_folder_named_as_a_role_is_itself(run):
    assert find_model(make_model_folder(pathlib.Path("best"))) == pathlib.Path("best")


@pytest.mark.parametrize(
    "path, words",
    [
        ("run/hatching_final.pt", r"no checkpoint has this role; roles that it has: latest, best"),
        ("run/hatching_step_15.pt", r"there is no step_00000015; the steps are step_00000010, step_000"),
        ("run/final", r"no checkpoint has this role; roles that it has: latest, best; .* step_00000030"),
        ("rnu", r"no model at rnu: it does not exist; did you mean `run`\?"),
        (".", r"it holds `.*`run/`.*; give one of the runs in it, such as run"),
        ("texts", r"it holds `a.txt`; to train a model on its texts: highnoon train --data texts"),
        ("texts/a.txt", r"it is a file; to train a model on it: highnoon train --data texts/a.txt"),
        ("run/checkpoints/step_00000010/config.json", r"give its folder, run/checkpoints/step_00000010"),
        ("new", r"it holds `recipe.yaml`; its run has saved no model yet; .*highnoon train new --resume"),
        ("empty", r"it is empty; expected a folder .*highnoon train --data PATH"),
    ],
)
def test_a_path_without_a_model_is_answered_with_what_is_there_and_a_command(run, path, words):
    for folder in ("texts", "new", "empty"):
        pathlib.Path(folder).mkdir()
    pathlib.Path("texts/a.txt").write_text("text")
    pathlib.Path("new/recipe.yaml").write_text("stages: []")
    with pytest.raises(ModelFolderError, match=words) as error:
        hn.load_model(path)
    assert "\n" not in str(error.value)


def test_a_role_whose_file_is_damaged_is_an_error_and_not_another_model(run):
    (run / "checkpoints/best").write_text("step_00000020\nbad\n")
    with pytest.raises(ModelFolderError, match="its name does not have its hash; give a step_"):
        find_model("run/best")


def test_resuming_and_inspecting_take_the_paths_of_a_run_too(run):
    checkpoints = run / "checkpoints"
    for path, step in (("run", 30), ("~/run/best", 20), ("run/latest", 30)):
        folder = checkpoints / f"step_{step:08d}"
        assert folder.resolve() in [found.resolve() for found in find_folders(path)]
        # What is not a complete checkpoint is named, so the folder that was meant was looked at first.
        with pytest.raises(CheckpointError, match=rf"\({folder.name} is damaged"):
            find_checkpoint(path)
