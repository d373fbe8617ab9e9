"""What `inspection` and `checkpoint_differences` read from folders of known contents."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import highnoon as hn
from highnoon.models import saving
from highnoon.training.checkpoints import checkpoint, inspection, snapshot
from highnoon.training.checkpoints.checkpoint_differences import compare_folders
from highnoon.training.checkpoints.inspection import find_folders, inspect_folder

STAGES = [
    {"name": "one", "steps": 10, "epochs": 2, "learning_rate": 1e-3},
    {"name": "two", "steps": 30, "epochs": None, "learning_rate": 5e-4},
]
PROGRESS = {
    "step": 13,
    "stage": 1,
    "epoch": 0,
    "step_in_epoch": 3,
    "stage_step": 3,
    "loss_total": 30.0,
    "token_total": 10.0,
    "tokens_seen": 200.0,
    "train_loss": None,
    "val_loss": None,
    "lowest_val_loss": 2.5,
    "stages_completed": [{"name": "one", "final_loss": 4.0, "val_loss": 4.5}],
}
WEIGHTS = {"a/kernel": np.arange(6, dtype="float32").reshape(2, 3), "b/scale": np.ones(4, "float32")}


def write_checkpoint(
    directory: pathlib.Path,
    step: int = 13,
    weights=WEIGHTS,
    progress=PROGRESS,
    stages=STAGES,
    ema=None,
    **model,
) -> pathlib.Path:
    slots = {
        f"optimizer/{name.replace('/', '_')}_{slot}": np.zeros_like(value)
        for name, value in weights.items()
        for slot in ("mean", "square", *(["average"] if ema else []))
    }
    factor = np.array(0.25, "float32")
    counters = {"optimizer/iteration": np.array(step), "optimizer/learning_rate_factor": factor}
    state = {
        "run_id": "abc",
        "versions": {"highnoon": "9"},
        "plan": {"stages": stages, "warmup_steps": 2},
        "training_config": {"optimizer": "lion", "schedule": "wsd", "ema_momentum": ema},
        "run": progress and {"progress": {**progress, "step": step}, "schedulers": []},
    }

    def write(folder: pathlib.Path) -> None:
        save_file(weights, folder / "model.safetensors")
        save_file({**slots, **counters, "step/skipped": np.array(0)}, folder / "optimizer.safetensors")
        description = {"format": "highnoon-model", "model": {"embedding_dim": 8, **model}}
        (folder / "config.json").write_text(json.dumps(description))
        (folder / "state.json").write_text(json.dumps(state))

    folder = directory / checkpoint.step_folder_name(step)
    checkpoint.write_folder(folder, write)
    return folder


def write_pair(directory: pathlib.Path, ours, theirs) -> tuple[pathlib.Path, pathlib.Path]:
    """Two checkpoints that differ in their weights alone."""
    return write_checkpoint(directory / "a", weights=ours), write_checkpoint(directory / "b", weights=theirs)


def test_file_names_are_those_that_checkpoints_are_written_under():
    assert inspection.WEIGHTS_FILE == saving.WEIGHTS_FILE
    assert inspection.CONFIG_FILE == saving.CONFIG_FILE
    assert inspection.OPTIMIZER_FILE == snapshot.OPTIMIZER_FILE


def test_the_position_in_the_run_is_read_from_the_progress(tmp_path):
    fact = inspect_folder(write_checkpoint(tmp_path))
    assert (fact.step, fact.total_steps, fact.run_id) == (13, 40, "abc")
    assert (fact.stage, fact.stage_number, fact.num_stages) == ("two", 2, 2)
    assert (fact.epoch, fact.num_epochs, fact.step_in_epoch) == (0, None, 3)
    assert (fact.stage_step, fact.stage_steps, fact.tokens_seen) == (3, 30, 200.0)
    assert (fact.damage, fact.versions) == (None, {"highnoon": "9"})


def test_the_loss_of_a_begun_epoch_is_its_own_and_the_held_out_loss_that_of_the_stage_before(tmp_path):
    fact = inspect_folder(write_checkpoint(tmp_path))
    assert (fact.train_loss, fact.val_loss, fact.lowest_val_loss) == (3.0, 4.5, 2.5)
    between = {**PROGRESS, "step_in_epoch": 0}
    assert inspect_folder(write_checkpoint(tmp_path, 10, progress=between)).train_loss == 4.0
    later = {**PROGRESS, "step_in_epoch": 0, "train_loss": 1.5, "val_loss": 1.75}
    fact = inspect_folder(write_checkpoint(tmp_path, 11, progress=later))
    assert (fact.train_loss, fact.val_loss) == (1.5, 1.75)


def test_a_complete_run_stands_in_no_stage_and_keeps_the_rate_of_the_last(tmp_path):
    fact = inspect_folder(write_checkpoint(tmp_path, progress={**PROGRESS, "stage": 2}))
    assert (fact.stage, fact.stage_number, fact.num_stages, fact.epoch) == (None, 2, 2, None)
    assert fact.peak_learning_rate == 5e-4


def test_optimizer_and_rate_are_the_stage_s_with_the_factor_of_faults(tmp_path):
    fact = inspect_folder(write_checkpoint(tmp_path))
    assert (fact.optimizer, fact.schedule) == ("lion", "wsd")
    assert (fact.peak_learning_rate, fact.learning_rate_factor) == (5e-4, 0.25)


def test_weights_slots_and_averages_are_counted_apart(tmp_path):
    fact = inspect_folder(write_checkpoint(tmp_path, ema=0.9))
    assert fact.weights == inspection.ArrayTotals(2, 10, 40)
    assert fact.slots == inspection.ArrayTotals(4, 20, 80)
    assert fact.averages == inspection.ArrayTotals(2, 10, 40)
    without = inspect_folder(write_checkpoint(tmp_path, 14))
    assert (without.slots, without.averages) == (inspection.ArrayTotals(4, 20, 80), None)


def test_half_precision_counts_two_bytes_a_number(tmp_path):
    fact = inspect_folder(write_checkpoint(tmp_path, weights={"a": np.ones((2, 3), "float16")}))
    assert fact.weights == inspection.ArrayTotals(1, 6, 12)


def test_a_directory_means_all_its_checkpoints_and_a_role_the_one_that_it_names(tmp_path):
    folders = [write_checkpoint(tmp_path, step) for step in (5, 20, 13)]
    checkpoint.point_at(folders[0], "best")
    checkpoint.point_at(folders[1], "latest")
    assert [folder.name for folder in find_folders(tmp_path)] == [
        "step_00000005",
        "step_00000013",
        "step_00000020",
    ]
    assert find_folders(tmp_path / "best") == [folders[0]]
    assert find_folders(folders[2]) == [folders[2]]
    assert [inspect_folder(folder).roles for folder in folders] == [["best"], ["latest"], []]


@pytest.mark.parametrize("name", ["nowhere", "checkpoints/final", "empty", "note.txt", "other"])
def test_a_path_that_is_no_checkpoint_is_refused_by_name(tmp_path, name):
    write_checkpoint(tmp_path / "checkpoints")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "note.txt").write_text("latest")
    with pytest.raises(checkpoint.CheckpointError, match="nothing to inspect at .*" + name):
        find_folders(tmp_path / name)


def test_a_role_whose_folder_is_gone_is_refused_with_its_name(tmp_path):
    checkpoint.point_at(tmp_path / "step_00000007", "best")
    with pytest.raises(checkpoint.CheckpointError, match="step_00000007, which is not there"):
        find_folders(tmp_path / "best")


def _flip_a_byte(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "reason", "still_known"),
    [
        (lambda folder: _flip_a_byte(folder / "model.safetensors"), "of model.safetensors", "weights"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "5 bytes", "slots"),
        (lambda folder: (folder / "optimizer.safetensors").unlink(), "is missing", "weights"),
        (lambda folder: (folder / "state.json").write_text("{"), "state.json", "weights"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest", "step"),
    ],
)
def test_a_damaged_checkpoint_is_described_as_far_as_it_can_be_read(tmp_path, harm, reason, still_known):
    folder = write_checkpoint(tmp_path)
    harm(folder)
    assert find_folders(folder) == [folder]
    fact = inspect_folder(folder)
    assert fact.damage is not None and reason in fact.damage
    assert getattr(fact, still_known) is not None


def test_a_step_folder_with_nothing_in_it_is_damaged_and_no_error(tmp_path):
    (tmp_path / "step_00000003").mkdir()
    fact = inspect_folder(find_folders(tmp_path)[0])
    assert fact.damage and fact.step is None and fact.weights is None


def test_a_saved_model_tells_its_weights_and_that_a_cut_file_is_damaged(tmp_path, make_model):
    model = make_model()
    hn.save_model(model, tmp_path / "model")
    fact = inspect_folder(find_folders(tmp_path / "model")[0])
    assert (fact.kind, fact.damage, fact.step) == ("model", None, None)
    assert fact.weights.num_values == model.count_params()
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert "model.safetensors" in inspect_folder(tmp_path / "model").damage


@pytest.mark.slow
def test_a_real_run_s_checkpoint_has_the_slots_of_its_optimizer(tmp_path, make_model, corpus):
    trainer = hn.Trainer(make_model(), optimizer="lion", ema_momentum=0.9, warmup_steps=1)
    trainer.add_curriculum_stage("one", datasets=[corpus], steps=2)
    trainer.train(checkpoint_dir=tmp_path / "checkpoints", log_dir=None, verbose=False)
    fact = inspect_folder(find_folders(tmp_path / "checkpoints" / "final")[0])
    size = sum(int(np.prod(weight.shape)) for weight in trainer.model.trainable_weights)
    assert (fact.slots.num_values, fact.averages.num_values) == (size, size)
    assert (fact.step, fact.stage, fact.learning_rate_factor) == (2, None, 1.0)
    assert {"latest", "final"} <= set(fact.roles)


def test_a_copy_of_a_checkpoint_is_bit_identical(tmp_path):
    one, other = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b")
    differences = compare_folders(one, other)
    assert differences.fields == []
    assert [(arrays.group, arrays.is_identical) for arrays in differences.arrays] == [
        ("weights", True),
        ("slots", True),
        ("other state", True),
    ]


def test_changed_weights_are_ranked_by_their_relative_change(tmp_path):
    one = write_checkpoint(tmp_path / "a")
    moved = {"a/kernel": WEIGHTS["a/kernel"] * 1.5, "b/scale": WEIGHTS["b/scale"] * 3.0}
    weights = compare_folders(one, write_checkpoint(tmp_path / "b", weights=moved)).arrays[0]
    assert (weights.is_identical, weights.num_changed, weights.num_compared) == (False, 2, 2)
    assert [change.name for change in weights.largest] == ["b/scale", "a/kernel"]
    assert [change.relative_norm for change in weights.largest] == pytest.approx([2.0, 0.5])


def test_only_the_ten_largest_changes_are_told(tmp_path):
    before = {f"w{index:02}": np.ones(3, "float32") for index in range(15)}
    after = {name: value * (1 + index) for index, (name, value) in enumerate(before.items())}
    weights = compare_folders(*write_pair(tmp_path, before, after)).arrays[0]
    assert weights.num_changed == 14
    assert [change.name for change in weights.largest] == [f"w{index:02}" for index in range(14, 4, -1)]


def test_bits_that_differ_in_sign_of_zero_alone_are_not_identical(tmp_path):
    plus, minus = {"a": np.array([0.0, 1.0], "float32")}, {"a": np.array([-0.0, 1.0], "float32")}
    assert compare_folders(*write_pair(tmp_path, plus, minus)).arrays[0].num_changed == 1


def test_a_change_from_zeros_or_to_nan_has_no_ratio_and_comes_first(tmp_path):
    before = {"zero": np.zeros(2, "float32"), "one": np.ones(2, "float32"), "two": np.ones(2, "float32")}
    after = {"zero": np.ones(2, "float32"), "one": np.full(2, np.nan, "float32"), "two": before["two"] * 9}
    largest = compare_folders(*write_pair(tmp_path, before, after)).arrays[0].largest
    assert [change.relative_norm for change in largest][:2] == [None, None] and largest[2].name == "two"


def test_missing_and_reshaped_weights_are_named(tmp_path):
    changed = {"a/kernel": np.ones((3, 2), "float32"), "c": np.ones(1, "float32")}
    one, other = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b", weights=changed)
    weights = compare_folders(one, other).arrays[0]
    assert (weights.only_in_one, weights.only_in_other) == (["b/scale"], ["c"])
    assert weights.reshaped == [("a/kernel", "F32 (2, 3)", "F32 (3, 2)")]
    assert not weights.is_identical


def test_a_weight_more_is_enough_not_to_be_identical(tmp_path):
    more = {**WEIGHTS, "c": np.ones(1, "float32")}
    weights = compare_folders(*write_pair(tmp_path, WEIGHTS, more)).arrays[0]
    assert (weights.num_changed, weights.only_in_other, weights.is_identical) == (0, ["c"], False)


def test_fields_that_differ_are_found_in_configuration_plan_and_progress(tmp_path):
    stages = [{**STAGES[0], "steps": 12}, STAGES[1]]
    other = write_checkpoint(tmp_path, 14, stages=stages, embedding_dim=16)
    found = {
        (field.group, field.key): (field.one, field.other)
        for field in compare_folders(write_checkpoint(tmp_path), other).fields
    }
    assert found == {
        ("model", "embedding_dim"): (8, 16),
        ("plan", "stages.one.steps"): (10, 12),
        ("progress", "step"): (13, 14),
    }


def test_a_damaged_side_is_said_where_its_arrays_would_stand(tmp_path):
    one, other = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b")
    (other / "model.safetensors").write_bytes(b"no")
    weights, slots, _ = compare_folders(one, other).arrays
    assert weights.problem and not weights.is_identical
    assert slots.problem is None and slots.is_identical


def test_reading_and_comparing_load_neither_tensorflow_nor_keras(tmp_path):
    one, other = write_checkpoint(tmp_path), write_checkpoint(tmp_path, 14)
    code = (
        "import sys\nfrom highnoon.cli.__main__ import main\n"
        f"assert main(['inspect', {str(one)!r}]) == 0\n"
        f"assert main(['inspect', {str(one)!r}, {str(other)!r}]) == 0\n"
        "assert not {'tensorflow', 'keras', 'jax'} & {name.split('.')[0] for name in sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_between_two_epochs_no_step_of_the_next_is_taken(tmp_path):
    at_the_end = {**PROGRESS, "epoch": 2, "num_allowed": 0}
    fact = inspect_folder(write_checkpoint(tmp_path, progress=at_the_end))
    assert (fact.epoch, fact.step_in_epoch) == (2, 0)
