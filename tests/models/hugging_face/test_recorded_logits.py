"""Logits equal those that `record_logits.py` recorded from `transformers`, without it being installed."""

from __future__ import annotations

import json
import pathlib
import runpy

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import highnoon as hn

RECORDER = runpy.run_path(str(pathlib.Path(__file__).with_name("record_logits.py")))
NAMES, TOKEN_IDS, COLUMNS = RECORDER["NAMES"], RECORDER["TOKEN_IDS"], RECORDER["COLUMNS"]
RECORDS = json.loads(RECORDER["RECORDED"].read_text())


@pytest.fixture
def folder(request, tmp_path):
    record = RECORDS[request.param]
    tensors = {name: RECORDER["tensor"](name, tuple(shape)) for name, shape in record["shapes"].items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(record["settings"]))
    return tmp_path


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_logits_are_those_that_were_recorded(folder, request):
    expected = np.array(RECORDS[request.node.callspec.params["folder"]]["logits"])
    assert np.abs(expected).max() > 1
    logits = keras.ops.convert_to_numpy(hn.load_model(folder)(TOKEN_IDS, training=False))
    np.testing.assert_allclose(logits[0, :, COLUMNS], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_recorded_is_what_transformers_computes(name):
    pytest.importorskip("torch", reason="the reference needs PyTorch: pip install 'highnoon[bench]'")
    pytest.importorskip("transformers", reason="the reference needs transformers")
    fresh = RECORDER["record"](name)
    assert fresh["shapes"] == RECORDS[name]["shapes"]
    np.testing.assert_allclose(fresh["logits"], RECORDS[name]["logits"], atol=1e-4)
