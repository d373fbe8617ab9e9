"""Exports a `LanguageModel` as a folder that `transformers` loads."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import keras
import numpy as np

from highnoon import __version__
from highnoon.config.known_arguments import known_arguments
from highnoon.files.expand_home import expand_home
from highnoon.files.folder_manifest import EXPORT_MANIFEST
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.whole_folder import recover_folder, whole_folder
from highnoon.inference.block_diffusion.diffusion_outputs import is_diffusion
from highnoon.models.arrays import save_arrays
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.families import family_for
from highnoon.models.hugging_face.family import Family
from highnoon.models.hugging_face.tensor_rules import Span
from highnoon.models.saving import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, ModelFolderError
from highnoon.tokenization.chat.begin_template import with_begin_template
from highnoon.tokenization.chat.published_template import published_template

FORMATS = ("hf",)
_SPECIAL = ("bos", "eos", "pad", "unk")
_GENERATION_FILE, _TOKENIZER_SETTINGS_FILE = "generation_config.json", "tokenizer_config.json"
_FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE, _GENERATION_FILE, _TOKENIZER_SETTINGS_FILE)


@known_arguments
def export_model(model: LanguageModel, path: str | pathlib.Path, format: str = "hf") -> pathlib.Path:
    """Writes a model as a folder of another library, complete or not at all.

    The folder holds `config.json`, `model.safetensors` (float32), `generation_config.json`, the tokenizer
    with its chat template in Jinja where the model has one, and `highnoon_manifest.json` with the hashes of
    these, which `load_model` compares. `transformers` writes a prompt of one turn with the ids that the model
    was trained on, and stops at the end of a turn. Earlier answers have these ids, too, where the template
    writes a special token or a line end before them. Factors of `enable_lora` are added into their kernels.

    Args:
        model: A `LanguageModel`; a family of `transformers` must have its pattern. A model that was loaded
            from a folder is written as the family that it came from, as long as that family fits.
        path: The folder: absent, empty, or of an earlier export, whose files are replaced.
        format: `"hf"`, for `transformers.AutoModelForCausalLM.from_pretrained`.

    Raises:
        ModelFolderError: a pattern or a setting that no family has, a quantized model, a model of block
            diffusion or of another class, or a `path` with other files.
        ValueError: another format.
        OSError: the files cannot be written (a full disk); nothing has changed.

    Example:

    ```python
    import tempfile
    import highnoon as hn

    model = hn.create_model("highnoon-nano", block_pattern="transformer")
    with tempfile.TemporaryDirectory() as folder:
        hn.export_model(model, f"{folder}/llama")
        again = hn.load_model(f"{folder}/llama")
    assert again.count_params() == model.count_params()
    ```
    """
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {', '.join(map(repr, FORMATS))}; received {format!r}")
    if not isinstance(model, LanguageModel):
        raise ModelFolderError(f"only a LanguageModel can be exported; received a {type(model).__name__}")
    if is_diffusion(model):
        raise ModelFolderError(
            "a model of block diffusion cannot be exported, since no family of `transformers` reads it; save "
            "it with `save_model`"
        )
    path = expand_home(path)
    recover_folder(path)
    _require_replaceable(path)
    if any(layer.quantization_mode for layer in model._flatten_layers()):
        raise ModelFolderError("a quantized model cannot be exported; export it before `quantize`")
    family, settings = family_for(model.config, model.published_as)
    with whole_folder(path, _FILES, EXPORT_MANIFEST) as folder:
        save_arrays(folder / WEIGHTS_FILE, _tensors(model, family), metadata={"format": "pt"})
        special = _special_ids(model.tokenizer)
        _write_json(
            folder / CONFIG_FILE,
            {
                "architectures": [family.architecture],
                "model_type": family.model_type,
                **settings,
                **special,
                "dtype": "float32",
                "highnoon_version": __version__,
            },
        )
        _write_json(folder / _GENERATION_FILE, {**special, **_turn_ends(model.tokenizer)})
        if model.tokenizer is not None:
            # The chat template is in the settings, where `transformers` and `load_model` look for it.
            (folder / TOKENIZER_FILE).write_text(with_begin_template(model.tokenizer), encoding="utf-8")
            _write_json(folder / _TOKENIZER_SETTINGS_FILE, _tokenizer_settings(model))
    return path


def _tensors(model: LanguageModel, family: Family) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    parts: dict[str, list[tuple[Span, np.ndarray]]] = {}
    for weight in family.weights(model):
        array = np.asarray(keras.ops.convert_to_numpy(weight.variable), dtype="float32")
        written = weight.rule.write(array)
        if weight.span is None:
            tensors.update(zip(weight.names, written, strict=True))
        else:
            parts.setdefault(weight.names[0], []).append((weight.span, written[0]))
    for name, fused in parts.items():
        fused.sort(key=lambda part: part[0].start)
        tensors[name] = np.concatenate([array for _, array in fused], axis=fused[0][0].axis)
    return tensors


def _special_ids(tokenizer: Any) -> dict[str, int | None]:
    """Written even where there is none: each family of `transformers` has defaults of its own."""
    names = [f"{name}_token_id" for name in _SPECIAL[:3]]
    return {name: getattr(tokenizer, name, None) for name in names}


def _turn_ends(tokenizer: Any) -> dict[str, Any]:
    """Where generation stops besides the end token, in the terms of `generation_config.json`."""
    ends = tokenizer.turn_ends() if tokenizer is not None else []
    ids = [end for end in ends if isinstance(end, int)]
    texts = [end for end in ends if isinstance(end, str)]
    all_ids = [tokenizer.eos_token_id, *ids] if ids else []
    return {
        **({"eos_token_id": [i for i in dict.fromkeys(all_ids) if i is not None]} if ids else {}),
        **({"stop_strings": texts} if texts else {}),
    }


def _tokenizer_settings(model: LanguageModel) -> dict[str, Any]:
    """What `transformers.AutoTokenizer` needs besides `tokenizer.json`."""
    added = json.loads(model.tokenizer.to_json()).get("added_tokens", [])
    names = {token["id"]: token["content"] for token in added}
    ids = {name: getattr(model.tokenizer, f"{name}_token_id") for name in _SPECIAL}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.max_seq_length,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": model.tokenizer.bos_token_id is not None,
        "add_eos_token": False,
        **{f"{name}_token": names[token_id] for name, token_id in ids.items() if token_id in names},
        **_chat_settings(model.tokenizer, set(ids.values())),
    }


def _chat_settings(tokenizer: Any, taken: set[int | None]) -> dict[str, Any]:
    """The chat template, and the special tokens besides begin, end, padding and unknown."""
    if tokenizer.chat_template is None:
        return {}
    others = sorted(
        (token_id, name)
        for name, token_id in tokenizer.ids_of_special_tokens.items()
        if token_id not in taken
    )
    return {
        "chat_template": published_template(tokenizer),
        "additional_special_tokens": [name for _, name in others],
    }


def _write_json(file: pathlib.Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _require_replaceable(path: pathlib.Path) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        values = read_json(path / CONFIG_FILE)
    except (OSError, ForeignDataError):
        values = {}
    if "model_type" not in values or "highnoon_version" not in values:
        raise ModelFolderError(f"{path} exists and is no earlier export; give another path or remove it")
