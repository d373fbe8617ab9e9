"""Records logits of the published BDH code for weights that follow from a seed.

Run it from the root of the repository, where PyTorch and the file `bdh.py` of github.com/pathwaycom/bdh are:
`python tests/models/hatching/record_logits.py PATH_TO_bdh.py`. `test_load_bdh.py` then compares them where
neither is.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
from typing import Any

import numpy as np

RECORDED = pathlib.Path(__file__).with_name("recorded_logits.json")
WIDTH, HEADS, MULTIPLIER, LEVELS = 32, 2, 4, 3
NEURONS = WIDTH * MULTIPLIER // HEADS
BYTES = np.random.default_rng(1).integers(0, 256, (2, 21))
COLUMNS = slice(0, 256, 16)


def weights() -> dict[str, np.ndarray]:
    """Returns the tensors of a small model."""
    random = np.random.default_rng(0)
    shapes = {
        "embed.weight": (256, WIDTH),
        "encoder": (HEADS, WIDTH, NEURONS),
        "encoder_v": (HEADS, WIDTH, NEURONS),
        "decoder": (HEADS * NEURONS, WIDTH),
        "lm_head": (WIDTH, 256),
    }
    return {name: random.normal(0, 0.2, shape).astype("float32") for name, shape in shapes.items()}


def published_model(path: str, tensors: dict[str, np.ndarray], dropout: float = 0.0) -> Any:
    """Returns the published model with these tensors, of the sizes that they have."""
    import torch

    spec = importlib.util.spec_from_file_location("published_bdh", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["published_bdh"] = module
    spec.loader.exec_module(module)
    model = module.BDH(module.BDHConfig(LEVELS, WIDTH, dropout, HEADS, MULTIPLIER))
    found = model.load_state_dict({name: torch.tensor(tensor) for name, tensor in tensors.items()}, False)
    assert not found.unexpected_keys and set(found.missing_keys) <= {"attn.freqs"}
    return model


def main() -> None:
    import torch

    with torch.no_grad():
        logits = published_model(sys.argv[1], weights())(torch.tensor(BYTES))[0].numpy()
    rounded = [[[float(f"{value:.7g}") for value in token] for token in row] for row in logits[..., COLUMNS]]
    RECORDED.write_text(json.dumps(rounded), encoding="utf-8")


if __name__ == "__main__":
    main()
