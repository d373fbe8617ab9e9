"""`highnoon inspect`: what it prints, its JSON and its exit codes."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from safetensors.numpy import save_file

from highnoon.cli.__main__ import main
from highnoon.training.checkpoints import checkpoint


def write_checkpoint(directory: pathlib.Path, step: int, scale: float = 1.0) -> pathlib.Path:
    progress = {"step": step, "stage": 0, "epoch": 1, "step_in_epoch": 2, "stage_step": step}
    stage = {"name": "tales", "steps": 90, "epochs": 3, "learning_rate": 0.5}
    state = {
        "run_id": "abc",
        "plan": {"stages": [stage]},
        "training_config": {"optimizer": "adamw", "schedule": "cosine"},
        "run": {"progress": {**progress, "train_loss": 3.25}},
    }

    def write(folder: pathlib.Path) -> None:
        save_file({"embedding": np.full((3, 4), scale, "float32")}, folder / "model.safetensors")
        save_file({"optimizer/iteration": np.array(step)}, folder / "optimizer.safetensors")
        (folder / "config.json").write_text(json.dumps({"format": "highnoon-model", "model": {}}))
        (folder / "state.json").write_text(json.dumps(state))

    folder = directory / checkpoint.step_folder_name(step)
    checkpoint.write_folder(folder, write)
    return folder


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two complete checkpoints with roles, and a newer one that is damaged."""
    checkpoint.point_at(write_checkpoint(tmp_path, 10), "best")
    checkpoint.point_at(write_checkpoint(tmp_path, 20, scale=1.5), "latest")
    (write_checkpoint(tmp_path, 30) / "model.safetensors").write_bytes(b"cut")
    return tmp_path


def printed(capsys: pytest.CaptureFixture, *words: object) -> str:
    assert main(["inspect", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_checkpoint_is_shown_with_its_position_and_size(directory, capsys):
    page = "".join(printed(capsys, directory / "best").split())  # a long path takes several lines
    for words in (
        "step_00000010",
        "complete",
        "10 of 90",
        "tales (1 of 1)",
        "12 numbers in 1 arrays",
        "adamw",
        "0.5 at its peak",
        "3.2500 nats a token",
        "best",
    ):
        assert "".join(words.split()) in page


def test_a_directory_is_a_table_with_roles_and_damage(directory, capsys):
    rows = {line.split()[0]: line for line in printed(capsys, directory).splitlines() if "step_" in line}
    assert "best" in rows["step_00000010"] and "complete" in rows["step_00000010"]
    assert "latest" in rows["step_00000020"] and "damaged" not in rows["step_00000020"]
    assert "damaged" in rows["step_00000030"]


def test_a_damaged_checkpoint_is_reported_and_no_error(directory, capsys):
    assert "damaged: model.safetensors has 3 bytes" in printed(capsys, directory / "step_00000030")


def test_json_of_a_directory_is_a_list_and_of_a_checkpoint_an_object(directory, capsys):
    facts = json.loads(printed(capsys, directory, "--json"))
    assert [fact["step"] for fact in facts] == [10, 20, 30]
    assert [fact["damage"] is None for fact in facts] == [True, True, False]
    fact = json.loads(printed(capsys, directory / "latest", "--json"))
    assert (fact["step"], fact["roles"], fact["weights"]["num_bytes"]) == (20, ["latest"], 48)


def test_two_checkpoints_are_compared_field_by_field_and_array_by_array(directory, capsys):
    page = printed(capsys, directory / "best", directory / "latest")
    assert "stage_step" in page and "1 of 1 arrays differ" in page
    assert [line.split() for line in page.splitlines() if "embedding" in line] == [["embedding", "0.5"]]
    differences = json.loads(printed(capsys, directory / "best", directory / "latest", "--json"))
    assert differences["arrays"][0]["largest"] == [{"name": "embedding", "relative_norm": 0.5}]


def test_equal_checkpoints_are_said_to_be_bit_identical(directory, capsys):
    page = printed(capsys, directory / "best", directory / "step_00000010")
    assert "are equal" in page and "all 1 arrays are bit-identical" in page


@pytest.mark.parametrize("words", [["nowhere"], ["best", "nowhere"]])
def test_a_path_that_is_none_is_one_line_and_exit_code_one(directory, capsys, words):
    assert main(["inspect", *(str(directory / word) for word in words)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "nowhere" in said.err
