"""Tokenizers as the published families have them: ids, end tokens and chat templates, read and written."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

import highnoon as hn
from highnoon.inference import LogitBias
from highnoon.tokenization import TokenizerError, load_tokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
TURNS = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "naïve 😀?"},
]
WORDS = ["the", "lower", "newest", "naïve", "café", "Привет", "你好", "世界", "x=1;", "don't", "3.14", "😀"]
CORPUS = ["the lowest newer lower widest the low", "naïve café don't", "Привет мир 你好世界", "x = 1; y = 2"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(special: list[str], qwen: bool) -> tokenizers.Tokenizer:
    """GPT-2's form, and Qwen's with its own splits."""
    engine = tokenizers.Tokenizer(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    engine.train_from_iterator(CORPUS * 9, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if qwen:
        split = tokenizers.Regex(r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*| ?\p{L}+|\s*[\r\n]+|\s+(?!\S)|\s+")
        engine.normalizer = normalizers.NFC()
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(split, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    engine.decoder = decoders.ByteLevel()
    engine.post_processor = processors.ByteLevel(trim_offsets=False)
    engine.add_special_tokens(special)
    return engine


def pieces(special: list[str], gemma: bool) -> tokenizers.Tokenizer:
    """SentencePiece's form with bytes for unknown characters: Llama's and Phi-3's, and Gemma's."""
    letters = sorted(set("▁" + "".join(CORPUS).replace(" ", "")))
    seed = tokenizers.Tokenizer(models.BPE())
    seed.pre_tokenizer = pre_tokenizers.Metaspace()
    seed.train_from_iterator(CORPUS * 9, trainers.BpeTrainer(vocab_size=90, initial_alphabet=letters))
    learned = json.loads(seed.to_str())["model"]
    names = list(dict.fromkeys([*special[:3], *BYTES, *learned["vocab"]]))
    vocab = {piece: index for index, piece in enumerate(names)}
    merges = [tuple(merge) for merge in learned["merges"]]
    model = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    engine = tokenizers.Tokenizer(model)
    replace = normalizers.Replace(" ", "▁")
    engine.normalizer = replace if gemma else normalizers.Sequence([normalizers.Prepend("▁"), replace])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    engine.decoder = decoders.Sequence(steps if gemma else [*steps, decoders.Strip(" ", 1, 0)])
    engine.add_special_tokens(special)
    return engine


def with_begin(engine: tokenizers.Tokenizer, name: str) -> tokenizers.Tokenizer:
    engine.post_processor = processors.TemplateProcessing(
        single=f"{name} $A", special_tokens=[(name, engine.token_to_id(name))]
    )
    return engine


@functools.cache
def made(name: str) -> tuple[tokenizers.Tokenizer, dict[str, Any], list[str]]:
    """Returns an engine, the settings of its folder, and the names of its end tokens."""
    if name == "gpt2":
        end = "<|endoftext|>"
        settings = {"bos_token": end, "eos_token": end, "unk_token": end, "add_prefix_space": False}
        return byte_level([end], qwen=False), settings, [end]
    if name == "qwen2":
        engine = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], qwen=True)
        settings = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        return engine, {**settings, "chat_template": CHATML}, ["<|im_end|>", "<|endoftext|>"]
    if name == "phi3":
        roles = ["<|assistant|>", "<|user|>", "<|end|>"]
        engine = pieces(["<unk>", "<s>", "</s>", "<|endoftext|>", *roles], gemma=False)
        settings = {
            "bos_token": "<s>",
            "eos_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True},
            "pad_token": "<|endoftext|>",
            "unk_token": "<unk>",
            "add_bos_token": False,
        }
        return engine, {**settings, "chat_template": PHI3}, ["<|endoftext|>", "<|end|>", "</s>"]
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    engine = with_begin(pieces(special, gemma=True), "<bos>")
    settings = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings = {**settings, "add_bos_token": True, "chat_template": GEMMA}
    return engine, settings, ["<eos>", "<end_of_turn>"]


NAMES = ("gpt2", "qwen2", "phi3", "gemma")


@pytest.fixture
def folder(request, tmp_path) -> pathlib.Path:
    """A model's folder with the tokenizer of a family and no manifest of ours."""
    engine, settings, ends = made(request.param)
    size = engine.get_vocab_size()
    fields = {"vocab_size": size, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 64}
    model = hn.create_model("highnoon-nano", block_pattern="transformer", **fields)
    hn.export_model(model, tmp_path)
    (tmp_path / "highnoon_manifest.json").unlink()
    (tmp_path / "tokenizer.json").write_text(engine.to_str())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ids = [engine.token_to_id(end) for end in ends]
    generation = {"eos_token_id": ids if len(ids) > 1 else ids[0]}
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    return tmp_path


def texts(count: int = 500) -> list[str]:
    """Words of many scripts, runs of white space, digits and single characters from anywhere."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        parts = rng.choice(WORDS, rng.integers(0, 9)).tolist()
        parts += [chr(code) for code in rng.integers(0x20, 0xD7FF, rng.integers(0, 4))]
        parts += rng.choice([" ", "  ", "\n", "\t", "\r\n", "", "12", "\u200b", "e\u0301"], 3).tolist()
        rng.shuffle(parts)
        found.append(rng.choice([" ", "", "\n"]).join(parts))
    return found


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_ids_are_those_of_the_library_on_mixed_texts(folder):
    engine = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(folder)
    expected = [encoding.ids for encoding in engine.encode_batch(texts(), add_special_tokens=False)]
    assert tokenizer.batch_encode(texts(), add_special_tokens=False) == expected
    assert len({len(ids) for ids in expected}) > 20
    decoded = [engine.decode(ids, skip_special_tokens=False) for ids in expected]
    assert tokenizer.batch_decode(expected) == decoded


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_a_text_is_framed_as_the_folder_says(folder, request):
    name = request.node.callspec.params["folder"]
    engine, _, ends = made(name)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.eos_token_id == engine.token_to_id(ends[0])
    assert tokenizer.bos_token_id == (engine.token_to_id("<bos>") if name == "gemma" else None)
    assert tokenizer.encode("the low")[:-1] == engine.encode("the low").ids
    assert tokenizer.encode("the low")[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_generation_ends_after_each_end_token_also_once_saved_and_exported(folder, request, tmp_path):
    from highnoon.inference.request import _read_stops

    engine, _, ends = made(request.node.callspec.params["folder"])
    expected = {engine.token_to_id(end) for end in ends}
    model = hn.load_model(folder)
    hn.save_model(model, tmp_path / "ours")
    hn.export_model(model, tmp_path / "exported")
    generation = json.loads((tmp_path / "exported" / "generation_config.json").read_text())
    written = generation["eos_token_id"]
    assert set(written if isinstance(written, list) else [written]) == expected
    for path in (folder, tmp_path / "ours", tmp_path / "exported"):
        tokenizer = hn.load_model(path).tokenizer
        assert set(_read_stops(None, tokenizer)[0]) == expected
        assert tokenizer.encode("the low") == model.tokenizer.encode("the low")
    assert load_tokenizer(tmp_path / "ours").fingerprint() == model.tokenizer.fingerprint()
    tokenizers.Tokenizer.from_file(str(tmp_path / "exported" / "tokenizer.json"))


@pytest.mark.parametrize("folder", ["phi3"], indirect=True)
def test_generation_stops_at_a_second_end_token(folder):
    model = hn.load_model(folder)
    end = model.tokenizer.ids_of_special_tokens["</s>"]
    others = {n: -float("inf") for n in range(model.vocab_size) if n != end}
    prompt = np.array([model.tokenizer.encode("the low", add_special_tokens=False)])
    ids = model.generate(prompt, max_length=4, temperature=0, logits_processors=[LogitBias(others)])
    assert ids[0, prompt.shape[1]] == end and not (ids[0, prompt.shape[1] + 1 :] == end).any()


@pytest.mark.parametrize("folder", ["qwen2", "phi3", "gemma"], indirect=True)
def test_transformers_writes_the_same_conversation_before_and_after(folder, request, tmp_path):
    transformers = pytest.importorskip("transformers", reason="pip install 'highnoon[bench]'")
    model = hn.load_model(folder)
    ours = hn.export_model(model, tmp_path / "exported")
    for turns in (TURNS, TURNS[:1]):
        before, after = (
            transformers.AutoTokenizer.from_pretrained(path).apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
            for path in (folder, ours)
        )
        assert after == before
        assert model.tokenizer.chat_template.prompt(turns).text == before
    # Here an answer is encoded apart from what is before it, which shows where each text begins with a space.
    turns = TURNS[:1] if request.node.callspec.params["folder"] == "phi3" else TURNS
    ids = transformers.AutoTokenizer.from_pretrained(ours).apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False
    )
    from highnoon.tokenization.marked_text import encode_prompt

    assert encode_prompt(model.tokenizer.chat_template.prompt(turns), model.tokenizer) == list(ids)


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("generation_config.json", {"eos_token_id": "</s>"}, "`eos_token_id` of .* must be a token id"),
        ("generation_config.json", {"eos_token_id": [1] * 1000}, "`eos_token_id` of .* must be a token id"),
        ("generation_config.json", {"eos_token_id": -1}, "must be a token id or a list of them; received -1"),
        ("generation_config.json", [], "generation_config.json"),
        ("special_tokens_map.json", [1], "special_tokens_map.json"),
    ],
)
@pytest.mark.parametrize("folder", ["gpt2"], indirect=True)
def test_settings_of_special_tokens_that_do_not_fit_are_named(folder, file, values, words):
    (folder / file).write_text(json.dumps(values))
    with pytest.raises(TokenizerError, match=words) as failure:
        load_tokenizer(folder)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("roles", [3, {}, {"bos": 1, "eos": 999, "pad": None, "unk": None, "ends": []}])
@pytest.mark.parametrize("folder", ["phi3"], indirect=True)
def test_damaged_roles_in_a_saved_tokenizer_are_refused(folder, tmp_path, roles):
    load_tokenizer(folder).save(tmp_path / "ours")
    file = tmp_path / "ours" / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "highnoon_roles": roles}))
    with pytest.raises(TokenizerError, match="roles"):
        load_tokenizer(tmp_path / "ours")
