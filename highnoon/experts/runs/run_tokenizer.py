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
from highnoon.tokenization import BytePairTokenizer, ByteTokenizer, Tokenizer, load_tokenizer
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
        stage: The arguments of `Trainer.add_curriculum_stage`; empty where there are no data yet.
        vocab_size: Ids of a tokenizer that is trained; None for 8192.
        validation_split: Fraction of documents on which it is not trained.

    Raises:
        TokenizerError: there is no tokenizer of this name; the error says how to get one.
        ConfigError: the folder has another one, or `vocab_size` is not that of a tokenizer that exists.
        DataError: the data cannot be read.
    """
    require_text("tokenizer", name)
    folder = _folder(checkpoint_dir)
    saved = _saved(folder)
    if name == "byte":
        tokenizer: Tokenizer = ByteTokenizer()
    elif name != "bpe":
        tokenizer = _of_path(name)
    elif saved is not None:
        _require_byte_pairs(saved, vocab_size, folder)
        return saved
    else:
        (sources,) = open_stage_sources([CurriculumStage("tokenizer", steps=1, **stage)], None)
        size = BYTE_PAIR_VOCAB_SIZE if vocab_size is None else vocab_size
        tokenizer = train_tokenizer(sources.sources, size, validation_split=validation_split)
        print_text(f"a byte-pair tokenizer of {tokenizer.vocab_size:,} ids is trained on the data: {folder}")
    if name != "bpe" and vocab_size not in (None, tokenizer.vocab_size, vocab_size_of(tokenizer)):
        raise ConfigError(
            f"`vocab_size` must be {tokenizer.vocab_size:,}, that of the tokenizer `{name}`; received "
            f"{vocab_size:,}; leave it out"
        )
    if saved is None and stage:  # data that cannot be read are an error before anything is written
        open_stage_sources([CurriculumStage("tokenizer", steps=1, **stage)], None)
    keep_tokenizer(tokenizer, checkpoint_dir)
    return tokenizer


def keep_tokenizer(tokenizer: Tokenizer, checkpoint_dir: str | os.PathLike[str]) -> pathlib.Path:
    """Saves the tokenizer of a folder of runs, unless the folder has it.

    Args:
        tokenizer: Of all runs.
        checkpoint_dir: The folder.

    Returns:
        Where it is saved.

    Raises:
        ConfigError: the folder has another one.
    """
    folder = _folder(checkpoint_dir)
    saved = _saved(folder)
    if saved is None:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(folder)
    elif saved.fingerprint() != tokenizer.fingerprint():
        raise ConfigError(
            f"all runs in {checkpoint_dir} must have its tokenizer, {saved!r}, whose hash is "
            f"{saved.fingerprint()}; received {tokenizer!r}, {tokenizer.fingerprint()}; give --tokenizer "
            f"{folder}, or another --checkpoint_dir"
        )
    return folder


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


def _folder(checkpoint_dir: str | os.PathLike[str]) -> pathlib.Path:
    return expand_home(checkpoint_dir) / TOKENIZER_FOLDER


def _saved(folder: pathlib.Path) -> Tokenizer | None:
    """Returns the tokenizer of a folder; None where it has none, or is what a killed run left of one."""
    return load_tokenizer(folder) if (folder / "tokenizer.json").is_file() else None


def _require_byte_pairs(saved: Tokenizer, vocab_size: int | None, folder: pathlib.Path) -> None:
    """Checks that a saved tokenizer can be the one that `bpe` would train."""
    if not isinstance(saved, BytePairTokenizer):
        raise ConfigError(
            f"the tokenizer in {folder} must be one of byte pairs; it is {saved!r}; give --tokenizer "
            f"{folder}, or another --checkpoint_dir"
        )
    # One that was trained on little text has fewer ids than it was allowed.
    if vocab_size is not None and saved.vocab_size > vocab_size:
        raise ConfigError(
            f"`vocab_size` must be at least {saved.vocab_size:,}, that of the tokenizer in {folder}; "
            f"received {vocab_size:,}; leave it out, or give another --checkpoint_dir"
        )
    if vocab_size is not None and saved.vocab_size < vocab_size:
        print_text(
            f"the byte-pair tokenizer in {folder} has {saved.vocab_size:,} ids; it is not trained again"
        )


def _of_path(name: str) -> Tokenizer:
    path, data = expand_home(name), os.environ.get(_DATA_VARIABLE)
    if data and not path.exists() and (expand_home(data) / name).exists():
        path = expand_home(data) / name
    return load_tokenizer(path)
