"""Adapters in PEFT's form: with PEFT itself where it is installed, and with golden names and numbers."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import highnoon as hn
from highnoon.models.adapters import AdapterError, load_adapter, save_adapter
from highnoon.models.adapters.peft_modules import peft_modules
from highnoon.models.lora_factors import Scale, add_factors

GOLDEN = json.loads((pathlib.Path(__file__).parent / "peft_names.json").read_text())
"""Names and shapes that PEFT saves, by family; `python -m tests.models.hugging_face.test_peft` writes it."""


def build(name: str):
    """Our model of a family, of the shape in the golden file."""
    import keras

    from highnoon.models.hugging_face.families import FAMILIES, read_config

    keras.utils.set_random_seed(0)
    config = read_config(FAMILIES[name], GOLDEN[name]["settings"], name)
    return hn.models.LanguageModel(config=config)


def logits(model, token_ids) -> np.ndarray:
    return np.asarray(model(token_ids, training=False))


def fill(model, seed=3) -> None:
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.2))


@pytest.mark.parametrize("name", GOLDEN)
def test_names_and_shapes_are_those_that_peft_saves(name, tmp_path):
    model = build(name)
    golden = GOLDEN[name]
    modules = peft_modules(model).by_path
    by_name = {module: path for path, module in modules.items()}
    assert sorted(by_name) == sorted(golden["modules"])
    add_factors(model.backbone, {path: Scale(2, 2) for path in modules})
    save_adapter(model, tmp_path / "peft", format="peft")
    saved = load_file(tmp_path / "peft/adapter_model.safetensors")
    assert {tensor: list(array.shape) for tensor, array in saved.items()} == golden["tensors"]
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert set(config) <= set(golden["settings_of_peft"])


@pytest.mark.parametrize("name", ["llama", "mamba"])
def test_a_peft_adapter_adds_scale_b_a_to_the_published_weight(name, token_ids, tmp_path):
    """In NumPy: the published tensors W + alpha / r B A, loaded as a model, give the adapter's logits."""
    model = build(name)
    hn.export_model(model, tmp_path / "base")
    rng = np.random.default_rng(0)
    golden = GOLDEN[name]
    tensors = {
        tensor: rng.normal(size=shape, scale=0.2).astype("float32")
        for tensor, shape in golden["tensors"].items()
    }
    (tmp_path / "peft").mkdir()
    save_file(tensors, tmp_path / "peft/adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "use_rslora": True, "lora_dropout": 0.0}
    (tmp_path / "peft/adapter_config.json").write_text(json.dumps(settings))
    base = load_file(tmp_path / "base/model.safetensors")
    for module in golden["modules"]:
        first, second = (tensors[f"base_model.model.{module}.lora_{part}.weight"] for part in ("A", "B"))
        base[f"{module}.weight"] = base[f"{module}.weight"] + 3 / np.sqrt(2) * second @ first
    (tmp_path / "base/highnoon_manifest.json").unlink()
    save_file(base, tmp_path / "base/model.safetensors", {"format": "pt"})
    expected = logits(hn.load_model(tmp_path / "base"), token_ids)
    before = logits(model, token_ids)
    load_adapter(model, tmp_path / "peft")
    assert np.abs(expected - before).max() > 0.1
    np.testing.assert_allclose(logits(model, token_ids), expected, rtol=1e-4, atol=1e-4)


def test_an_adapter_goes_to_peft_and_back_without_a_change(token_ids, tmp_path):
    model = build("llama")
    hn.export_model(model, tmp_path / "base")
    model.backbone.enable_lora(2, ["query", "down"], alpha=5)
    fill(model)
    expected = logits(model, token_ids)
    save_adapter(model, tmp_path / "peft", format="peft", base_path=tmp_path / "base")
    for again in (hn.load_model(tmp_path / "base"), hn.load_model(tmp_path / "peft")):
        if again.backbone.lora is None:
            load_adapter(again, tmp_path / "peft")
        np.testing.assert_allclose(logits(again, token_ids), expected, rtol=1e-6, atol=1e-6)
    other = build("llama")
    other.backbone.final_norm.scale.assign_add(np.ones(other.backbone.final_norm.scale.shape))
    with pytest.raises(AdapterError, match="of other weights"):
        load_adapter(other, tmp_path / "peft")


REFUSED = {
    "use_dora": ({"use_dora": True}, "`use_dora` true"),
    "bias": ({"bias": "all"}, "`bias` 'all'"),
    "modules_to_save": ({"modules_to_save": ["lm_head"]}, "`modules_to_save`"),
    "an initialization that changes the base": (
        {"init_lora_weights": "pissa"},
        "changes the weights of the base",
    ),
    "another kind": ({"peft_type": "IA3"}, "peft_type 'IA3'"),
    "what is not known": ({"a_new_feature": 3}, "`a_new_feature`"),
    "parameters": ({"target_parameters": ["experts.down_proj"]}, "`target_parameters`"),
    "a rank of another file": ({"r": 4}, "factors of rank 2"),
    "a rank that is none": ({"r": "2"}, "must be an integer of at least 1"),
    "an alpha that is none": ({"lora_alpha": "x"}, "`lora_alpha` must be a number"),
    "a key that may not end": ({"rank_pattern": {"(a+)+$": 2}}, "only names of modules"),
}


@pytest.mark.parametrize("change, words", REFUSED.values(), ids=REFUSED)
def test_features_that_are_not_here_are_refused_in_one_line(change, words, tmp_path):
    model = build("llama")
    model.backbone.enable_lora(2)
    save_adapter(model, tmp_path / "peft", format="peft")
    file = tmp_path / "peft/adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    other = build("llama")
    with pytest.raises(AdapterError) as caught:
        load_adapter(other, tmp_path / "peft")
    assert words.lower() in str(caught.value).lower() and "\n" not in str(caught.value)
    assert other.backbone.lora is None


def test_factors_that_have_no_layer_here_are_refused_by_name(tmp_path):
    model = build("mixtral")
    model.backbone.enable_lora(2)
    save_adapter(model, tmp_path / "peft", format="peft")
    file = tmp_path / "peft/adapter_model.safetensors"
    tensors = load_file(file)
    for name, words in (
        ("base_model.model.lm_head.lora_{}.weight", "'lm_head'"),
        ("base_model.model.model.layers.0.mlp.gate.lora_{}.weight", "model.layers.0.mlp.gate"),
        ("base_model.model.model.embed_tokens.lora_embedding_{}", "lora_embedding_A"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector{}", "magnitude"),
    ):
        extra = {name.format(part): np.ones((2, 2), "float32") for part in ("A", "B")}
        save_file({**tensors, **extra}, file)
        with pytest.raises(AdapterError, match=words):
            load_adapter(build("mixtral"), tmp_path / "peft")
    (tmp_path / "peft/adapter_model.bin").write_bytes(b"x")
    file.unlink()
    with pytest.raises(AdapterError, match="can run code"):
        load_adapter(build("mixtral"), tmp_path / "peft")


def test_what_peft_has_no_module_for_is_refused_when_it_is_saved(tmp_path):
    model = build("llama")
    model.backbone.enable_lora(2, ["token_embedding"])
    with pytest.raises(AdapterError, match="no module for the factors of `token_embedding`"):
        save_adapter(model, tmp_path / "peft", format="peft")
    hybrid = hn.create_model("highnoon-nano", block_pattern="mamba2+moe, attention+moe", embedding_dim=32)
    hybrid.backbone.enable_lora(2)
    with pytest.raises(AdapterError, match="needs a family of transformers"):
        save_adapter(hybrid, tmp_path / "peft", format="peft")
    assert not (tmp_path / "peft").exists()


# With PEFT itself.


def peft_or_skip():
    for module in ("torch", "transformers", "peft"):
        pytest.importorskip(module, reason="the reference is PEFT: pip install 'highnoon[bench]'")
    import peft

    return peft


def reference_logits(model, token_ids) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.tensor(token_ids)).logits.numpy()


TARGETS = {
    "llama": ["query", "value", "down"],
    "mistral": ["key", "attention_output"],
    "mixtral": ["query", "value"],
    "qwen3_moe": ["query", "attention_output"],
    "deepseek_v2": ["q_proj", "kv_a_proj_with_mqa"],
    "qwen2": ["query", "key", "value", "gate"],
    "qwen3": ["attention_output", "up"],
    "gpt2": ["attention_output", "down"],
    "phi3": ["attention_output", "down"],
    "gemma2": ["query", "down"],
    "mamba": ["in_proj", "x_proj"],
    "mamba2": ["in_proj"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_our_adapters_load_in_peft_and_its_adapters_load_here(name, published_folder, token_ids, tmp_path):
    peft = peft_or_skip()
    import transformers

    folder = published_folder(name)
    model = hn.load_model(folder)
    model.backbone.enable_lora(3, TARGETS[name], alpha=7)
    fill(model)
    expected = logits(model, token_ids)
    hn.export_model(hn.load_model(folder), tmp_path / "base")
    save_adapter(model, tmp_path / "ours", format="peft", base_path=tmp_path / "base")

    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation="eager")
    before = reference_logits(base, token_ids)
    there = peft.PeftModel.from_pretrained(base, tmp_path / "ours").eval()
    assert np.abs(expected - before).max() > 0.05
    np.testing.assert_allclose(reference_logits(there, token_ids), expected, rtol=1e-4, atol=1e-4)

    there.save_pretrained(tmp_path / "theirs")
    again = hn.load_model(folder)
    load_adapter(again, tmp_path / "theirs")
    np.testing.assert_allclose(logits(again, token_ids), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_ranks_and_scales_of_single_modules_and_rslora_are_honoured(published_folder, token_ids, tmp_path):
    peft = peft_or_skip()
    import torch
    import transformers

    folder = published_folder("llama")
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["q_proj", "down_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 2},
        alpha_pattern={"down_proj": 3},
        use_rslora=True,
        layers_to_transform=[0, 1],
    )
    there = peft.get_peft_model(base, config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in there.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    there.save_pretrained(tmp_path / "theirs")
    model = hn.load_model(folder)
    load_adapter(model, tmp_path / "theirs")
    expected = reference_logits(there, token_ids)
    np.testing.assert_allclose(logits(model, token_ids), expected, rtol=1e-4, atol=1e-4)
    # And to PEFT again, where each module's rank and scale is written.
    save_adapter(model, tmp_path / "ours", format="peft")
    fresh = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    again = peft.PeftModel.from_pretrained(fresh, tmp_path / "ours").eval()
    np.testing.assert_allclose(reference_logits(again, token_ids), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_golden_names_are_those_of_peft_today(tmp_path):
    peft_or_skip()
    assert golden_names(tmp_path) == GOLDEN


FUSED = (".c_attn", ".qkv_proj", ".gate_up_proj")
"""Modules that hold several projections, which have factors of their own here."""


def golden_names(folder: pathlib.Path) -> dict:
    """Makes the golden file: `python -m tests.models.hugging_face.test_peft`."""
    import peft
    import torch
    import transformers

    from tests.models.hugging_face.conftest import SETTINGS

    golden = {}
    for name in TARGETS:
        config = transformers.AutoConfig.for_model(name, **SETTINGS[name])
        base = transformers.AutoModelForCausalLM.from_config(config)
        base.save_pretrained(folder / name)
        modules = [
            module
            for module, layer in base.named_modules()
            if type(layer) in (torch.nn.Linear, transformers.pytorch_utils.Conv1D) and module != "lm_head"
        ]
        # PEFT refuses Mamba's, and takes dense feed-forwards next to experts for fused experts.
        has_experts = any("experts" in parameter for parameter, _ in base.named_parameters())
        modules = [
            module
            for module in modules
            if not module.endswith((".out_proj", *FUSED)) and not (has_experts and ".mlp." in module)
        ]
        tuned = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=modules))
        tuned.save_pretrained(folder / f"{name}-adapter")
        tensors = load_file(folder / f"{name}-adapter/adapter_model.safetensors")
        settings = json.loads((folder / f"{name}-adapter/adapter_config.json").read_text())
        golden[name] = {
            "settings": json.loads((folder / name / "config.json").read_text()),
            "settings_of_peft": sorted(settings),
            "modules": sorted(modules),
            "tensors": {tensor: list(array.shape) for tensor, array in sorted(tensors.items())},
        }
    return golden


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        names = golden_names(pathlib.Path(folder))
    text = json.dumps(names, indent=1, sort_keys=True) + "\n"
    pathlib.Path(__file__).with_name("peft_names.json").write_text(text)
