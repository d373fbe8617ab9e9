"""The mixture equals the blocks of Hugging Face's Qwen3-MoE, DeepSeek-V2 and DeepSeek-V3."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from keras import ops

from highnoon.layers import MoELayer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

X = np.random.default_rng(0).normal(size=(2, 9, 16)).astype("float32")
SIZES = {
    "hidden_size": 16,
    "moe_intermediate_size": 12,
    "num_experts_per_tok": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "_experts_implementation": "eager",
}
GROUPS = {"n_routed_experts": 8, "n_shared_experts": 2, "n_group": 4, "topk_group": 2}
OUR_GROUPS = {"num_expert_groups": 4, "num_groups_per_tok": 2, "num_shared_experts": 2, "routed_scale": 2.5}
CASES = {
    "normalised": ("qwen3_moe.Qwen3Moe", "SparseMoeBlock", {"num_experts": 8, "norm_topk_prob": True}, {}),
    "not normalised": (
        "qwen3_moe.Qwen3Moe",
        "SparseMoeBlock",
        {"num_experts": 8, "norm_topk_prob": False},
        {"normalize_gates": False},
    ),
    "groups by their best expert": (
        "deepseek_v2.DeepseekV2",
        "Moe",
        {**GROUPS, "topk_method": "group_limited_greedy", "routed_scaling_factor": 2.5},
        {"normalize_gates": False, **OUR_GROUPS},
    ),
    "groups by their best two": (
        "deepseek_v3.DeepseekV3",
        "MoE",
        {**GROUPS, "norm_topk_prob": True, "routed_scaling_factor": 2.5},
        {"router_type": "sigmoid", **OUR_GROUPS},
    ),
}


def their_block(path: str, suffix: str, options: dict):
    module, name = path.split(".")
    models = importlib.import_module(f"transformers.models.{module}.modeling_{module}")
    block = getattr(models, name + suffix)(getattr(transformers, name + "Config")(**SIZES, **options)).eval()
    torch.manual_seed(0)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for buffer in block.buffers():  # the correction bias of DeepSeek-V3
        torch.nn.init.normal_(buffer, std=0.3)
    return block


def copy_weights(block, layer: MoELayer) -> None:
    layer.router.assign(block.gate.weight.numpy().T)
    gate, up = np.split(block.experts.gate_up_proj.numpy(), 2, axis=1)
    layer.experts.gate_kernel.assign(gate.transpose(0, 2, 1))
    layer.experts.up_kernel.assign(up.transpose(0, 2, 1))
    layer.experts.down_kernel.assign(block.experts.down_proj.numpy().transpose(0, 2, 1))
    if layer.shared_expert is not None:
        for name in ("gate", "up", "down"):
            kernel = getattr(block.shared_experts, f"{name}_proj").weight.numpy().T
            getattr(layer.shared_expert, name).kernel.assign(kernel)
    if layer.expert_bias is not None:
        layer.expert_bias.assign(block.gate.e_score_correction_bias.numpy())


@pytest.mark.parametrize("case", CASES)
def test_the_output_is_that_of_the_reference(case):
    path, suffix, theirs, ours = CASES[case]
    layer = MoELayer(8, 12, 3, **ours)
    layer.build(X.shape)
    with torch.no_grad():
        block = their_block(path, suffix, theirs)
        for parameter in block.parameters():
            parameter.requires_grad_(False)
        copy_weights(block, layer)
        expected = block(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(ops.convert_to_numpy(layer(X)[0]), expected, atol=1e-5)
