"""Loads a published folder as a `LanguageModel`."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from highnoon.config import ModelConfig
from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.shown import shown
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.dtypes import resolve_dtype
from highnoon.models.hugging_face.families import family_of, read_config
from highnoon.models.hugging_face.family import Family, layer_kinds
from highnoon.models.hugging_face.tensor_files import HEAD, TensorFiles
from highnoon.models.hugging_face.tensor_rules import Weight
from highnoon.models.memory import count_parameters, require_memory
from highnoon.models.saving import CONFIG_FILE, TOKENIZER_FILE, ModelFolderError
from highnoon.tokenization import load_tokenizer

_HEAD = f"{HEAD}weight"
_LISTED = 6
_LARGEST_CONFIG = 2**20


def is_hugging_face_folder(path: str | pathlib.Path) -> bool:
    """Whether `path` holds a `config.json` that names a `model_type`."""
    file = pathlib.Path(path) / CONFIG_FILE
    if not file.is_file():
        return False
    try:
        return "model_type" in read_json(file, max_bytes=_LARGEST_CONFIG)
    except ForeignDataError:
        return False


def load_hugging_face(
    path: str | pathlib.Path, dtype: Any = "auto", allow_oversize: bool = False
) -> LanguageModel:
    """Reads a folder of `transformers` into the matching pattern; `highnoon.load_model` calls it.

    Every tensor is used and every variable assigned, or nothing is loaded. A `tokenizer.json` is loaded too.

    Args:
        path: A folder with `config.json` and safetensors, in one file or in shards.
        dtype: As in `create_model`.
        allow_oversize: Load even a model that does not fit into this machine's memory.

    Raises:
        ModelFolderError: another family, a setting that HighNoon does not support, or files that do not fit.
        LimitExceededError: the weights do not fit into memory.
    """
    path = pathlib.Path(path)
    source = str(path / CONFIG_FILE)
    try:
        values = read_json(path / CONFIG_FILE, max_bytes=_LARGEST_CONFIG)
    except ForeignDataError as error:
        raise ModelFolderError(str(error)) from None
    family = family_of(values, source)
    config = read_config(family, values, source)
    require_memory(config, allow_oversize)
    files = TensorFiles(path, family.prefix)
    _require_enough(path, files, config)
    try:
        model = LanguageModel(config=config, dtype=resolve_dtype(dtype))
    except ValueError as error:  # sizes that do not fit each other, which the layers check
        raise ModelFolderError(f"{source} describes a model that cannot be built: {error}") from error
    weights = list(family.weights(model))
    _check_cover(model, weights)
    _check_tensors(path, files, weights, family, config)
    for weight in weights:
        weight.variable.assign(weight.rule.read([files.read(name, weight.span) for name in weight.names]))
    model.published_as = family.model_type
    _warn_of_shorter_context(config, values, source)
    _take_tokenizer(model, path)
    return model


def _require_enough(path: pathlib.Path, files: TensorFiles, config: ModelConfig) -> None:
    """Rejects, before the model is built, a config.json of a much larger model than the files hold.

    The size of the files then bounds what is built. Smaller differences are reported tensor by tensor.
    """
    needed, layers = count_parameters(config), len(layer_kinds(config))
    if files.num_values() < needed / 2 or len(files) < layers:
        raise ModelFolderError(
            f"{path / CONFIG_FILE} describes {layers:,} layers with {needed:,} parameters, and the weights "
            f"in its folder hold {files.num_values():,} in {len(files):,} tensors; use config.json and "
            "weights of one and the same model"
        )


def _check_cover(model: LanguageModel, weights: Sequence[Weight]) -> None:
    """A layer with a variable that its family's table does not list is a defect, and must raise."""
    filled = {id(weight.variable) for weight in weights}
    forgotten = [variable.path for variable in model.weights if id(variable) not in filled]
    if forgotten:
        raise RuntimeError(f"no published tensor is known for {', '.join(forgotten[:_LISTED])}")


def _check_tensors(
    path: pathlib.Path, files: TensorFiles, weights: Sequence[Weight], family: Family, config: ModelConfig
) -> None:
    wanted = {
        name: shape for weight in weights for name, shape in zip(weight.names, weight.shapes(), strict=True)
    }
    spare = [name for name in files if name not in wanted and not name.endswith(family.computed)]
    left_out = [name for name in spare if family.is_left_out(name, config)]
    unexpected = [name for name in spare if name not in left_out]
    if config.tie_embeddings and _HEAD in unexpected:
        _check_tied_head(path, files, weights[0].names[0])
        unexpected.remove(_HEAD)
    wrong = [
        f"{name} is {files.shape(name)} and should be {shape}"
        for name, shape in wanted.items()
        if name in files and files.shape(name) != shape
    ]
    problems = [
        _listing("missing", [name for name in wanted if name not in files]),
        _listing("unexpected", unexpected),
        _listing("of another shape", wrong),
    ]
    if any(problems):
        raise ModelFolderError(
            f"the tensors of {path} are not those of {family.architecture} with its config.json: "
            f"{'; '.join(filter(None, problems))}. Take config.json and weights of one and the same model."
        )
    if left_out:
        warnings.warn(
            f"{path}: ignored {len(left_out)} tensors of modules that predict further tokens", stacklevel=3
        )


def _check_tied_head(path: pathlib.Path, files: TensorFiles, embedding: str) -> None:
    if embedding in files and not np.array_equal(files.read(_HEAD), files.read(embedding)):
        raise ModelFolderError(
            f"{path} says tie_word_embeddings and holds a {_HEAD} that differs from {embedding}; set "
            "tie_word_embeddings to false in config.json to use it"
        )


def _warn_of_shorter_context(config: ModelConfig, values: dict[str, Any], source: str) -> None:
    """LongRoPE has other frequencies beyond the original context, which are not computed here."""
    longest = values.get("max_position_embeddings")
    if (config.rope_scaling or {}).get("rope_type") == "longrope" and longest != config.max_seq_length:
        warnings.warn(
            f"{source} has max_position_embeddings={longest} by `rope_scaling` of type 'longrope'; the model "
            f"is loaded with max_seq_length={config.max_seq_length}, up to which its short factors hold",
            stacklevel=4,
        )


def _take_tokenizer(model: LanguageModel, path: pathlib.Path) -> None:
    if not (path / TOKENIZER_FILE).is_file():
        return
    try:
        tokenizer = load_tokenizer(path / TOKENIZER_FILE)
    except ValueError as error:
        warnings.warn(f"the model is loaded without its tokenizer: {error}", stacklevel=3)
        return
    if tokenizer.vocab_size > model.config.vocab_size:
        warnings.warn(
            f"the model is loaded without its tokenizer: {path / TOKENIZER_FILE} has ids up to "
            f"{tokenizer.vocab_size - 1:,}, and config.json has vocab_size={model.config.vocab_size:,}; take "
            "the tokenizer of this model",
            stacklevel=3,
        )
        return
    model.tokenizer = tokenizer


def _listing(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    listed = ", ".join(shown(name)[1:-1] for name in names[:_LISTED])
    return f"{len(names)} {what} ({listed}{rest})"
