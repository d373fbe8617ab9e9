"""BDH compared with its published code: logits and gradients, from files of PyTorch.

The environment variable HIGHNOON_BDH names the file `bdh.py` of github.com/pathwaycom/bdh.
"""

from __future__ import annotations

import os
import pathlib
import runpy
import sys

import keras
import numpy as np
import pytest
from keras import ops

from highnoon.models import LanguageModel
from highnoon.models.hatching import load_bdh
from highnoon.testing import check_model as battery
from highnoon.testing.gradients import value_and_gradients

PUBLISHED = os.environ.get("HIGHNOON_BDH", "")
if not pathlib.Path(PUBLISHED).is_file():
    pytest.skip("set HIGHNOON_BDH to the published bdh.py", allow_module_level=True)
sys.modules.setdefault("triton", None)
torch = pytest.importorskip("torch", reason="the published code needs PyTorch")

RECORD = runpy.run_path(str(pathlib.Path(__file__).with_name("record_logits.py")))
BYTES = RECORD["BYTES"]
LABELS = np.roll(BYTES, -1, axis=1)


@pytest.fixture(scope="module")
def published():
    return RECORD["published_model"](PUBLISHED, RECORD["weights"]())


@pytest.fixture(scope="module")
def loaded(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "bdh.pt"
    torch.save(published.state_dict(), path)
    return load_bdh(path, RECORD["LEVELS"], byte_tokenizer=False)


def with_form(model: LanguageModel, form: str) -> LanguageModel:
    fields = {**model.config.to_dict(), "block_pattern": f"bdh(multiplier=4, form={form}, chunk_length=4)"}
    other = LanguageModel(**fields)
    other.set_weights(model.get_weights())
    return other


@pytest.mark.parametrize("form", ["quadratic", "chunked"])
def test_logits_and_gradients_are_equal(published, loaded, form):
    model = with_form(loaded, form)
    published.zero_grad()
    logits, loss = published(torch.tensor(BYTES), torch.tensor(LABELS))
    loss.backward()
    np.testing.assert_allclose(battery.logits_of(model, BYTES), logits.detach().numpy(), atol=1e-5)

    layer, embedding = model.backbone.reasoning_blocks[0].mixers[0], model.backbone.token_embedding
    variables = {
        "embed.weight": embedding.embeddings,
        "encoder": layer.encoder,
        "encoder_v": layer.encoder_v,
        "decoder": layer.decoder,
        "lm_head": embedding.reverse_embeddings,
    }
    batch = {"token_ids": BYTES, "labels": LABELS, "loss_weights": np.ones(BYTES.shape, "float32")}

    def loss_of(*values):
        values = [1.0 * value for value in values]  # the gradient of a lookup alone is a list of rows
        with keras.StatelessScope(state_mapping=list(zip(variables.values(), values, strict=True))):
            return model.loss_terms(batch)["loss_sum"] / BYTES.size

    values = [ops.convert_to_numpy(variable) for variable in variables.values()]
    value, gradients = value_and_gradients(loss_of, *values)
    assert float(value) == pytest.approx(loss.item(), rel=1e-6)
    expected = dict(published.named_parameters())
    for name, gradient in zip(variables, gradients, strict=True):
        theirs = expected[name].grad.numpy()
        np.testing.assert_allclose(gradient, theirs, atol=1e-5 * np.abs(theirs).max(), err_msg=name)
