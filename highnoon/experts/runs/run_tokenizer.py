"""The one tokenizer of all runs of a folder of checkpoints."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from highnoon.config import ConfigError, require_text
from highnoon.data import train_tokenizer
from highnoon.files.expand_home import expand_home
from highnoon.files.print_text import print_text
from highnoon.inference.block_diffusion.diffusion_outputs import find_mask_id
from highnoon.tokenization import ByteTokenizer, Tokenizer, load_tokenizer
from highnoon.training.plans.stage_sources import open_stage_sources
from highnoon.training.plans.stages import CurriculumStage

TOKENIZER_FOLDER = "tokenizer"
BYTE_PAIR_VOCAB_SIZE = 8192
_DATA_VARIABLE = "HIGHNOON_DATA"


def run_tokenizer(
    name: str,
    checkpoint_dir: str | os.PathLike[str],
    stage: Mapping[str, Any],
    *,
    vocab_size: int | None = None,
    validation_split: float = 0.1,
) -> Tokenizer:
    """Returns the tokenizer of a folder of runs, and saves it there, so that all of them have the same.

    Args:
        name: `"byte"`; `"bpe"`, which is trained on the training split of the stage's data where the folder
            has none yet; the path of a saved tokenizer; or the name of one in the folder that
            `HIGHNOON_DATA` names, such as `"gpt2"`.
        checkpoint_dir: The folder; the tokenizer is in its subfolder `tokenizer`.
        stage: The arguments of `Trainer.add_curriculum_stage`.
        vocab_size: Ids of a tokenizer that is trained; None for 8192.
        validation_split: Fraction of documents on which it is not trained.

    Raises:
        TokenizerError: there is no tokenizer of this name; the error says how to get one.
        ConfigError: the folder has another one.
        DataError: the data cannot be read.
    """
    require_text("tokenizer", name)
    folder = pathlib.Path(checkpoint_dir, TOKENIZER_FOLDER)
    saved = load_tokenizer(folder) if (folder / "tokenizer.json").is_file() else None
    if name == "byte":
        tokenizer: Tokenizer = ByteTokenizer()
    elif name != "bpe":
        tokenizer = _of_path(name)
    elif saved is not None:
        return saved
    else:
        (sources,) = open_stage_sources([CurriculumStage("tokenizer", steps=1, **stage)], None)
        size = BYTE_PAIR_VOCAB_SIZE if vocab_size is None else vocab_size
        tokenizer = train_tokenizer(sources.sources, size, validation_split=validation_split)
        print_text(f"a byte-pair tokenizer of {tokenizer.vocab_size:,} ids is trained on the data: {folder}")
    if saved is None:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder)
    elif saved.fingerprint() != tokenizer.fingerprint():
        raise ConfigError(
            f"all runs in {checkpoint_dir} must have its tokenizer, whose hash is {saved.fingerprint()}; "
            f"received `{name}`, {tokenizer.fingerprint()}; give --tokenizer {folder}, or another "
            "--checkpoint_dir"
        )
    return tokenizer


def vocab_size_of(tokenizer: Tokenizer) -> int:
    """Returns the ids of every expert: the tokenizer's, and one for the mask where it has none."""
    return tokenizer.vocab_size + (0 if has_mask(tokenizer) else 1)


def has_mask(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has an id for the mask of block diffusion."""
    try:
        find_mask_id(None, tokenizer)
    except ConfigError:
        return False
    return True


def _of_path(name: str) -> Tokenizer:
    path, data = expand_home(name), os.environ.get(_DATA_VARIABLE)
    if data and not path.exists() and (expand_home(data) / name).exists():
        path = expand_home(data) / name
    return load_tokenizer(path)
