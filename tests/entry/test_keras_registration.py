"""`import highnoon` is enough for Keras to load our classes, and stays cheap."""

import subprocess
import sys

import keras
import pytest

import highnoon as hn
import highnoon.layers.hatching  # noqa: F401
from highnoon.keras_registration import REGISTERED_CLASSES
from highnoon.tokenization import ByteTokenizer


def test_every_class_that_is_registered_has_a_placeholder():
    ours = ("highnoon.layers", "highnoon.models")
    registered = {
        name.removeprefix("highnoon>")
        for name, value in keras.saving.get_custom_objects().items()
        if name.startswith("highnoon>") and value.__module__.startswith(ours)
    }
    missing = registered - set(REGISTERED_CLASSES)
    assert not missing, f"add to REGISTERED_CLASSES: {sorted(missing)}"
    for name in REGISTERED_CLASSES:
        assert keras.saving.get_registered_object(f"highnoon>{name}").__module__.startswith("highnoon.")


def test_import_loads_neither_keras_nor_our_packages():
    code = (
        "import sys, highnoon; assert 'keras' not in sys.modules and 'numpy' not in sys.modules;"
        "print([name for name in sys.modules if name.startswith('highnoon.')])"
    )
    assert run(code) == "['highnoon.keras_registration']"


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import highnoon, keras", "import keras, highnoon"])
def test_keras_loads_a_model_and_a_layer_in_a_new_process(tmp_path, imports):
    model = hn.create_model("highnoon-nano", vocab_size=263, embedding_dim=8, num_reasoning_blocks=1)
    model.tokenizer = ByteTokenizer()
    model.save(tmp_path / "m.keras")
    keras.Sequential([keras.Input((4, 8)), hn.layers.FeedForward(16)]).save(tmp_path / "layer.keras")
    code = (
        f"{imports}; assert type(keras.__loader__).__module__ != 'highnoon.keras_registration';"
        "assert not any(type(f).__module__.startswith('highnoon') for f in __import__('sys').meta_path);"
        f"layer = keras.saving.load_model({str(tmp_path / 'layer.keras')!r}).layers[-1];"
        f"model = keras.saving.load_model({str(tmp_path / 'm.keras')!r});"
        "print(type(layer).__name__, model.tokenizer.vocab_size, isinstance(model, highnoon.LanguageModel))"
    )
    assert run(code) == "FeedForward 263 True"


def run(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()
