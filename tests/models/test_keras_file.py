"""`.keras` files that are damaged, foreign or too large."""

from __future__ import annotations

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.models import ModelFolderError
from highnoon.models.keras_file import load_keras_file
from highnoon.tokenization import ByteTokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = hn.LanguageModel(263, 16, 16, 1, "attention+mlp", num_heads=2, tokenizer=ByteTokenizer())
    path = tmp_path_factory.mktemp("saved") / "m.keras"
    model.save(path)
    return path


def change_file(path, name, change):
    """Writes a zip archive again with one of its files changed."""
    with zipfile.ZipFile(path) as archive:
        files = {entry: archive.read(entry) for entry in archive.namelist()}
    files[name] = change(files[name])
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in files.items():
            if content is not None:
                archive.writestr(entry, content)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def changed_config(change):
    def apply(content):
        values = json.loads(content)
        change(values)
        return json.dumps(values)

    return lambda path: change_file(path, "config.json", apply)


DAMAGE = {
    "a flipped bit": (flip_a_bit, "is damaged: .* has changed since it was saved; take another copy"),
    "a cut file": (
        lambda path: path.write_bytes(path.read_bytes()[:2000]),
        "is damaged: File is not a zip file",
    ),
    "no zip": (lambda path: path.write_text("hello"), "is damaged: File is not a zip file"),
    "no description": (lambda path: change_file(path, "config.json", lambda _: None), "is no file of Keras"),
    "no JSON": (lambda path: change_file(path, "config.json", lambda _: "{"), "is damaged: config.json"),
    "no weights": (
        lambda path: change_file(path, "model.weights.h5", lambda _: None),
        "holds no model that can be made here: .*model.weights.h5",
    ),
    "a damaged tokenizer": (
        lambda path: change_file(path, "assets/tokenizer.json", lambda _: "{"),
        "holds no model that can be made here: .*tokenizer.json",
    ),
    "an unknown class": (
        changed_config(lambda values: values.update(registered_name="other>Model", class_name="Model")),
        "holds no model that can be made here: Could not locate class 'Model'",
    ),
    "no fields": (
        changed_config(lambda values: values["config"]["backbone"].update(config=3)),
        "describes no model",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_wrong_with_a_file_is_said_in_one_line(saved, tmp_path, damage, words):
    path = tmp_path / "m.keras"
    shutil.copy(saved, path)
    damage(path)
    with pytest.raises(ModelFolderError, match=words) as error:
        hn.load_model(path)
    assert "\n" not in str(error.value)


def test_a_file_that_does_not_exist_and_a_dtype_are_refused(saved, tmp_path):
    with pytest.raises(ModelFolderError, match="no model at .*absent.keras"):
        hn.load_model(tmp_path / "absent.keras")
    with pytest.raises(ModelFolderError, match="has a dtype of its own; received dtype='bfloat16'"):
        hn.load_model(saved, dtype="bfloat16")


def test_memory_is_checked_before_anything_is_made(saved, monkeypatch):
    monkeypatch.setattr("highnoon.models.memory.available_memory", lambda: 10)
    with pytest.raises(hn.LimitExceededError):
        hn.load_model(saved)
    assert hn.load_model(saved, allow_oversize=True).tokenizer is not None


def test_models_of_plain_layers_load_and_code_in_a_file_is_refused(tmp_path):
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    plain.save(tmp_path / "plain.keras")
    x = np.ones((1, 3), "float32")
    again = load_keras_file(tmp_path / "plain.keras")
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(plain(x)))
    with_code = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)])
    with_code.save(tmp_path / "code.keras")
    with pytest.raises(ModelFolderError, match="holds no model that can be made here: .*lambda"):
        load_keras_file(tmp_path / "code.keras")


def test_save_model_writes_a_keras_file_where_the_name_is_one(saved, tmp_path):
    model = hn.load_model(saved)
    path = tmp_path / "new" / "model.keras"
    assert hn.save_model(model, path) == path and path.is_file()
    for loaded in (hn.load_model(path), keras.saving.load_model(path)):
        assert loaded.generate("ab", max_length=8, seed=1) == model.generate("ab", max_length=8, seed=1)
    hn.save_model(model, path)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.keras"]


def test_save_model_refuses_the_names_of_other_files_and_keeps_older_folders(saved, tmp_path):
    model = hn.load_model(saved)
    with pytest.raises(ModelFolderError, match=r"a folder or a \.keras file; received [^\n]*model\.h5"):
        hn.save_model(model, tmp_path / "model.h5")
    (tmp_path / "photos.keras").mkdir()
    with pytest.raises(ModelFolderError, match="is a folder and no file of Keras"):
        hn.save_model(model, tmp_path / "photos.keras")
    (hn.save_model(model, tmp_path / "old")).rename(tmp_path / "old.keras")
    hn.save_model(model, tmp_path / "old.keras")
    assert (tmp_path / "old.keras" / "model.safetensors").is_file()
