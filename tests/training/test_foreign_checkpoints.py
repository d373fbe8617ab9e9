"""Whatever is in a manifest, a state or the file of a role: an error of one line, or a whole checkpoint."""

from __future__ import annotations

import json
import os
import pathlib
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from highnoon.files.folder_manifest import DamagedFolderError, read_manifest, write_manifest
from highnoon.files.sealed_json import seal
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.checkpoint import CheckpointError
from highnoon.training.checkpoints.checkpoint_state import state_problem
from highnoon.training.checkpoints.inspection import find_folders, inspect_folder

STATE = {
    "format": 1,
    "versions": {"highnoon": "9"},
    "run_id": "abc",
    "epochs_per_stage": 2,
    "weight_mode": "loss",
    "training_config": {"optimizer": "lion", "schedule": "wsd"},
    "packing": True,
    "data_dir": None,
    "stages": [{"name": "one"}],
    "plan": {"stages": [{"name": "one", "steps": 4, "epochs": 2, "learning_rate": 0.1}], "warmup_steps": 2},
    "run": {
        "progress": {
            "step": 2,
            "stage": 0,
            "epoch": 1,
            "step_in_epoch": 1,
            "loss_total": 3.0,
            "token_total": 2.0,
            "stages_completed": [],
            "spans": [[1, 0, 0, 5, 0]],
        },
        "schedulers": [None],
        "callbacks": [],
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FILES = ["manifest.json", "state.json", "config.json", "latest"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> pathlib.Path:
    """Two checkpoints; the tests below damage the newer one and put it back."""
    directory = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2):

        def write(folder):
            (folder / "state.json").write_text(json.dumps(STATE))
            (folder / "config.json").write_text('{"format": "highnoon-model", "model": {"vocab_size": 9}}')
            (folder / "model.safetensors").write_bytes(bytes(64))

        folder = directory / checkpoint.step_folder_name(step)
        checkpoint.write_folder(folder, write)
        checkpoint.point_at(folder)
    return directory


@pytest.fixture(scope="module")
def contents(directory) -> dict[pathlib.Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _put_back_at_the_end(contents):
    yield
    put_back(contents)


def path_of(directory: pathlib.Path, name: str) -> pathlib.Path:
    return directory / name if name == "latest" else directory / "step_00000002" / name


def use(directory: pathlib.Path) -> None:
    """Does what a resumed run and `highnoon inspect` do; only a `CheckpointError` of one line is raised."""
    for wanted in (directory, directory / "latest", directory / "step_00000002"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = checkpoint.find_checkpoint(wanted)
            checkpoint.explain_choice(found)
            if "format" in json.loads((found / "state.json").read_text()):
                checkpoint.read_state(found)
        assert found.name == "step_00000002" or len(caught) == 1
        try:
            for folder in find_folders(wanted):
                inspect_folder(folder)
        except CheckpointError as error:
            assert "\n" not in str(error)
    with warnings.catch_warnings(record=True):
        checkpoint.prune(directory, keep=2)
        checkpoint.set_aside_older_run(directory, "abc")
    assert len(checkpoint.step_folders(directory)) == 2


def put_back(contents: dict[pathlib.Path, bytes]) -> None:
    for path, content in contents.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(name=st.sampled_from(FILES), value=JSON, is_sealed=st.booleans())
def test_any_json_instead_of_a_file_is_skipped_as_damage(directory, contents, name, value, is_sealed):
    if is_sealed and isinstance(value, dict):
        value = seal(value)
    path_of(directory, name).write_text(json.dumps(value))
    use(directory)
    put_back(contents)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_any_flipped_bit_is_skipped_as_damage(directory, contents, data, name):
    path = path_of(directory, name)
    content = bytearray(contents[path])
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    use(directory)
    put_back(contents)


def paths(value, path=()):
    """Yields the path of everything in nested lists and dicts."""
    yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from paths(inner, (*path, key))


def with_value(value, path, new):
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(path=st.sampled_from(list(paths(STATE))), value=JSON)
def test_any_value_in_a_state_whose_hash_fits_is_an_error_or_of_the_right_shape(
    directory, contents, path, value
):
    folder = directory / "step_00000002"
    (folder / "manifest.json").unlink()
    state = with_value(STATE, path, value)
    (folder / "state.json").write_text(json.dumps(state))
    write_manifest(folder)
    use(directory)
    problem = "no object"
    if isinstance(state, dict):
        problem = state_problem(state, is_complete="format" in state)
    assert (problem is None) == (checkpoint.damage(folder) is None)
    put_back(contents)


COMPLETED = {"name": "one", "final_loss": 1.0, "val_loss": None, "epochs": 1, "steps": 2}


@pytest.mark.parametrize(
    "path, good, wrong",
    [
        (("run", "callbacks"), {"class": "A", "values": {}}, {"class": [], "values": {}}),
        (("run", "callbacks"), {"class": "A", "values": {}, "lost": ["b"]}, {"values": {}}),
        (("run", "callbacks"), {"class": "A", "values": {}}, {"class": "A", "values": [1]}),
        (("run", "progress", "stages_completed"), COMPLETED, {**COMPLETED, "epochs": [1]}),
        (("run", "progress", "stages_completed"), COMPLETED, {"name": "one"}),
        (("run", "progress", "mix_rows"), 3, {"class": 1}),
        (("run", "progress", "logged"), 3.5, None),
    ],
)
def test_entries_of_what_a_run_remembers_have_their_shape(path, good, wrong):
    state = with_value(STATE, ("run", "progress"), {**STATE["run"]["progress"], "mix_rows": [], "logged": []})
    assert state_problem(with_value(state, path, [good]), is_complete=True) is None
    assert f"`{'.'.join(path)}" in state_problem(with_value(state, path, [wrong]), is_complete=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "\n",
        "../../other",
        "/etc",
        "step_00000001/..",
        "step_00000001/../step_00000001",
        "..",
        ".",
        "step_99999999",
        "C:\\models",
        "step_1",
        "latest",
        "step_00000002\0",
        "x" * 300,
        "step_" + "1" * 240,
    ],
)
def test_a_role_names_a_folder_inside_the_directory_or_is_damage(directory, contents, name):
    (directory / "latest").write_text(name)
    with pytest.warns(UserWarning, match="`latest` (in .* is damaged|names .* not there)") as caught:
        assert checkpoint.find_checkpoint(directory / "latest") == directory / "step_00000002"
    assert len(caught) == 1
    with pytest.raises(CheckpointError, match="`?latest`?.* (is damaged|not there)"):
        find_folders(directory / "latest")
    put_back(contents)


def test_a_role_without_a_hash_is_one_of_an_older_version(directory, contents):
    (directory / "latest").write_text("step_00000001\n")
    assert checkpoint.find_checkpoint(directory / "latest").name == "step_00000001"
    put_back(contents)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "", "null", "{", "\udcff"])
def test_deep_and_broken_manifests_are_damage(directory, contents, text):
    for name in ("manifest.json", "state.json", "config.json"):
        path_of(directory, name).write_text(text, errors="surrogateescape")
        use(directory)
        put_back(contents)


def test_pruning_deletes_nothing_while_a_role_is_damaged(tmp_path):
    for step in (1, 2, 3):
        checkpoint.write_folder(tmp_path / checkpoint.step_folder_name(step), lambda folder: None)
    checkpoint.point_at(tmp_path / "step_00000001", "best")
    (tmp_path / "best").write_bytes((tmp_path / "best").read_bytes().replace(b"1", b"3", 1))
    with pytest.warns(UserWarning, match="no older checkpoint is deleted: `best` .* is damaged"):
        checkpoint.prune(tmp_path, keep=1)
    assert len(checkpoint.step_folders(tmp_path)) == 3


def test_a_damaged_folder_of_the_resumed_run_stays_and_its_roles_too(tmp_path):
    def write(folder):
        (folder / "state.json").write_text(json.dumps(STATE))

    for step in (1, 2):
        checkpoint.write_folder(tmp_path / checkpoint.step_folder_name(step), write)
    checkpoint.point_at(tmp_path / "step_00000001", "best")
    (tmp_path / "step_00000002" / "state.json").write_text("{")
    assert checkpoint.set_aside_older_run(tmp_path, "abc") is None
    assert checkpoint.find_checkpoint(tmp_path / "best").name == "step_00000001"
    moved = checkpoint.set_aside_older_run(tmp_path, "another")
    assert sorted(path.name for path in moved.iterdir()) == ["best", "step_00000001", "step_00000002"]


def test_a_run_id_names_no_path(tmp_path):
    def write(folder):
        (folder / "state.json").write_text(json.dumps({**STATE, "run_id": "/../../elsewhere"}))

    checkpoint.write_folder(tmp_path / "in" / "step_00000001", write)
    assert "`run_id`" in checkpoint.damage(tmp_path / "in" / "step_00000001")
    assert checkpoint.set_aside_older_run(tmp_path / "in", "abc") == tmp_path / "in" / "run_damaged"


def test_a_higher_step_of_more_digits_is_newer(tmp_path):
    def write(folder):
        (folder / "state.json").write_text(json.dumps(STATE))

    for step in (99_999_999, 100_000_000):
        checkpoint.write_folder(tmp_path / checkpoint.step_folder_name(step), write)
    (tmp_path / "step_100000000" / "state.json").write_text("{")
    with pytest.warns(UserWarning, match="step_100000000 is damaged"):
        assert checkpoint.find_checkpoint(tmp_path / "step_100000000").name == "step_99999999"


@pytest.mark.parametrize("path", ["\0", "a\0b", "/dev/zero", "~", "file", "pipe/latest", 5, [], True])
def test_a_path_of_no_checkpoint_is_an_error_of_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "latest")
    with pytest.raises(CheckpointError) as error:
        checkpoint.find_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"bytes": 1},
        {"bytes": True, "blake2b": ""},
        3,
        None,
        {"bytes": 1, "blake2b": None},
        {"bytes": 1, "blake2b": "", "x": 1},
    ],
)
@pytest.mark.parametrize("name", ["file", "../file", "/etc/passwd"])
def test_an_entry_of_another_form_is_damage(tmp_path, entry, name):
    (tmp_path / "manifest.json").write_text(json.dumps({name: entry}))
    with pytest.raises(DamagedFolderError, match="its manifest cannot be read"):
        read_manifest(tmp_path)
