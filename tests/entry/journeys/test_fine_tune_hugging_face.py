"""A person has a folder of Hugging Face and chats, tunes it by the command line, and goes back."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import highnoon as hn
from highnoon.cli.__main__ import main
from tests.models.hugging_face.dense_fields import dense_fields

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
}
CONFIGS = {
    "llama": {"architectures": ["LlamaForCausalLM"], "intermediate_size": 48},
    "mistral": {"architectures": ["MistralForCausalLM"], "intermediate_size": 48, "sliding_window": 16},
    "mixtral": {
        "architectures": ["MixtralForCausalLM"],
        "intermediate_size": 24,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
}
OURS = {name: dense_fields(head_dim=8)[name] for name in ("gpt2", "gemma2")}
"""Families whose folders are written by `export_model`, which other tests compare with `transformers`."""
TUNED = {"gpt2": ("attn.c_attn.",)}
"""Tensors that LoRA of queries and values changes; GPT-2 has one for queries, keys and values."""
QUESTIONS = [{"role": "user", "content": "How many foxes are in den 7?"}]


def write_folder(folder: pathlib.Path, name: str) -> None:
    """A folder as `save_pretrained` writes it, of random weights, without PyTorch."""
    if name in OURS:
        write_our_folder(folder, name)
    else:
        write_tensors(folder, name)
    write_tokenizer(folder)


def write_our_folder(folder: pathlib.Path, name: str) -> None:
    shape = {"vocab_size": 300, "embedding_dim": 32, "num_heads": 4, "ffn_dim": 48, "max_seq_length": 64}
    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1, dropout=0.0, **shape, **OURS[name])
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape))
    hn.export_model(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "highnoon_manifest.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "bos_token_id": 0, "eos_token_id": 1}))


def write_tensors(folder: pathlib.Path, name: str) -> None:
    folder.mkdir()
    config = {"model_type": name, **SHAPE, **CONFIGS[name]}
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / shape[-1] ** 0.5).astype("float32")

    width, kv = SHAPE["hidden_size"], SHAPE["hidden_size"] // 2
    inner = config["intermediate_size"]
    tensors = {
        "model.embed_tokens.weight": draw(300, width),
        "lm_head.weight": draw(300, width),
        "model.norm.weight": np.ones(width, "float32"),
    }
    for number in range(SHAPE["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{layer}.{norm}.weight"] = np.ones(width, "float32")
        for part, size in (("q", width), ("k", kv), ("v", kv), ("o", width)):
            tensors[f"{layer}.self_attn.{part}_proj.weight"] = draw(size, width)
        if name == "mixtral":
            tensors[f"{layer}.block_sparse_moe.gate.weight"] = draw(4, width)
            for expert in range(4):
                prefix = f"{layer}.block_sparse_moe.experts.{expert}"
                tensors[f"{prefix}.w1.weight"], tensors[f"{prefix}.w3.weight"] = (
                    draw(inner, width),
                    draw(inner, width),
                )
                tensors[f"{prefix}.w2.weight"] = draw(width, inner)
        else:
            tensors[f"{layer}.mlp.gate_proj.weight"], tensors[f"{layer}.mlp.up_proj.weight"] = (
                draw(inner, width),
                draw(inner, width),
            )
            tensors[f"{layer}.mlp.down_proj.weight"] = draw(width, inner)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def write_tokenizer(folder: pathlib.Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ["<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({text: index for index, text in enumerate([*special, *letters])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(autouse=True)
def chats(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"How many foxes are in den {n}?"},
                {"role": "assistant", "content": f"There are {n % 9}."},
            ]
        }
        for n in range(40)
    ]
    pathlib.Path("chats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("name", [*CONFIGS, *OURS])
def test_a_folder_is_tuned_on_answers_exported_and_loaded(name, capsys):
    pytest.importorskip("jinja2", reason="published chat templates are Jinja: pip install 'highnoon[chat]'")
    write_folder(pathlib.Path("base"), name)
    words = ["--from", "base", "--data", "chats.jsonl", "--kind", "conversations", "--lora", "4"]
    small = ["training.max_seq_length=64", "training.batch_size=4", "training.learning_rate=3e-3"]
    assert main(["train", *words, "--steps", "6", "--output", "tuned", *small]) == 0
    printed = capsys.readouterr().out
    assert "fine-tuning base: " in printed and "query (rank 4), value (rank 4)" in printed

    # The factors alone were trained, on the answers alone, in the folder's own template and end token.
    tuned = hn.load_model("tuned")
    assert tuned.tokenizer.chat_template.template == TEMPLATE
    assert tuned.tokenizer.eos_token_id == 1
    supervised = supervised_texts(tuned)
    assert supervised and all(re.fullmatch("There are [0-9].</s>", text) for text in supervised)
    base = load_file("base/model.safetensors")
    assert (pathlib.Path("tuned/adapter/adapter.json")).is_file()

    # Base and adapter give what the saved model gives, here and in PEFT's form.
    ids = np.array([tuned.tokenizer.encode("How many foxes are in den 7?")])
    expected = np.asarray(tuned(ids, training=False))
    assert np.abs(expected - np.asarray(hn.load_model("base")(ids, training=False))).max() > 1e-3
    assert main(["export", "--model", "base", "--adapter", "tuned/adapter", "--output", "merged"]) == 0
    has_peft = name not in TUNED  # PEFT has no module for a part of a fused weight, which is an error
    exported = main(["export", "--model", "tuned", "--format", "peft", "--output", "peft"])
    assert exported == (0 if has_peft else 1)
    adapter = "peft" if has_peft else "tuned/adapter"
    for again in (hn.load_model("merged"), hn.load_model("tuned/adapter"), hn.load_model(adapter)):
        np.testing.assert_allclose(again(ids, training=False), expected, rtol=1e-4, atol=1e-4)
        assert again.tokenizer.chat_template is not None
    merged = load_file("merged/model.safetensors")
    assert sorted(merged) == sorted(base)
    changed = {tensor for tensor in base if not np.array_equal(base[tensor], merged[tensor])}
    parts = TUNED.get(name, (".q_proj.", ".v_proj."))
    kernels = {tensor for tensor in base if tensor.endswith("weight")}
    assert changed == {tensor for tensor in kernels if any(part in tensor for part in parts)}
    generate = ["generate", "--model", "base", "--adapter", adapter, "--prompt", "Hi", "--max-length", "3"]
    assert main(generate) == 0

    # The recipe of the run repeats it.
    assert main(["train", "tuned", "output=second"]) == 0
    first, second = (
        pathlib.Path(run, "adapter/adapter.safetensors").read_bytes() for run in ("tuned", "second")
    )
    assert first == second
    load_in_transformers(ids, expected)


def supervised_texts(model) -> list[str]:
    """What the run's rows supervise, decoded, read through the run's own recipe."""
    from highnoon.data import PackedRows, open_source, tokenize

    template = model.tokenizer.chat_template
    store = tokenize(open_source("chats.jsonl", chat_template=template), model.tokenizer)
    batch = PackedRows([store], row_length=64, split="train").view(0).read(0, 4)
    texts = []
    for labels, weights in zip(batch["labels"], batch["loss_weights"], strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], weights, [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            if 0 < start and stop < len(labels):  # those that the ends of a row do not cut
                texts.append(model.tokenizer.decode(labels[start:stop], skip_special_tokens=False))
    return texts


def load_in_transformers(ids: np.ndarray, expected: np.ndarray) -> None:
    """Compares with the reference, where it is installed."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        return
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained("merged", attn_implementation="eager")
    with torch.no_grad():
        got = model(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    before, after = (transformers.AutoTokenizer.from_pretrained(folder) for folder in ("base", "merged"))
    for options in ({"add_generation_prompt": True}, {}):
        wanted = before.apply_chat_template(QUESTIONS, tokenize=False, **options)
        assert after.apply_chat_template(QUESTIONS, tokenize=False, **options) == wanted
