"""Records logits of `transformers` for models whose weights follow from the names of their tensors.

Run it from the root of the repository, where PyTorch and `transformers` are installed:
`python tests/models/hugging_face/record_logits.py`. `test_recorded_logits.py` then compares them
where neither is installed.
"""

from __future__ import annotations

import json
import pathlib
import runpy
import sys
import zlib
from typing import Any

import numpy as np

RECORDED = pathlib.Path(__file__).with_name("recorded_logits.json")
NAMES = ("llama", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gpt2")
TOKEN_IDS = np.random.default_rng(2).integers(3, 61, (1, 14))
COLUMNS = slice(0, 61, 6)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the values of a tensor: no norm of ones, no bias of zeros."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    if len(shape) == 1:
        return (0.3 * values + ("bias" not in name)).astype("float32")
    return (values * 1.5 / shape[-1] ** 0.5).astype("float32")


def record(name: str) -> dict[str, Any]:
    """Returns settings, shapes of tensors and logits of one family."""
    import torch
    import transformers

    settings = runpy.run_path(str(RECORDED.with_name("conftest.py")))["SETTINGS"][name]
    config = transformers.AutoConfig.for_model(name, **settings)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    shapes = {key: tuple(value.shape) for key, value in model.named_parameters()}
    state = {key: torch.tensor(tensor(key, shape)) for key, shape in shapes.items()}
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    with torch.no_grad():
        logits = model(torch.tensor(TOKEN_IDS)).logits[0, :, COLUMNS]
    return {
        "settings": json.loads(config.to_json_string(use_diff=True)),
        "shapes": {key: list(shape) for key, shape in shapes.items()},
        "logits": [[round(float(one), 5) for one in row] for row in logits],
    }


if __name__ == "__main__":
    sys.modules["triton"] = None  # type: ignore[assignment]  # not needed on a CPU
    found = {name: record(name) for name in NAMES}
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in found.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
