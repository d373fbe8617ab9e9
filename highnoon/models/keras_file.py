"""Reads models from `.keras` files, which Keras's own `model.save` writes."""

from __future__ import annotations

import os
import pathlib
import zipfile
import zlib
from typing import Any

import keras

from highnoon.config import ConfigError, ModelConfig, require_path
from highnoon.files.foreign import ForeignDataError, parse_json
from highnoon.models.memory import require_memory
from highnoon.models.saving import ModelFolderError

_CONFIG = "config.json"
_MAX_CONFIG_BYTES = 1 << 26
_OURS = "highnoon>LanguageModel"


def load_keras_file(path: str | os.PathLike[str], allow_oversize: bool = False) -> Any:
    """Returns the model of a `.keras` file, a language model with its tokenizer.

    Keras's safe mode stays on: a file with code in it, such as a lambda, is refused. Models of plain Keras
    layers are read too.

    Args:
        path: The file.
        allow_oversize: Whether to read even a language model that does not fit into memory.

    Raises:
        ModelFolderError: there is no such file, it is damaged, or it holds no model that can be made here.
        LimitExceededError: the weights do not fit into memory.

    Example:

    ```python
    import tempfile
    import highnoon as hn
    from highnoon.tokenization import ByteTokenizer

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    model.tokenizer = ByteTokenizer()
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        again = hn.load_model(f"{folder}/model.keras")
    assert again.tokenizer.encode("hi") == model.tokenizer.encode("hi")
    ```
    """
    path = pathlib.Path(require_path("path", path, ModelFolderError))
    if not path.is_file():
        raise ModelFolderError(f"no model at {path}: it does not exist; give a file that model.save wrote")
    _require_memory(path, _read_config(path), allow_oversize)
    try:
        return keras.saving.load_model(path)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise ModelFolderError(f"{path} holds no model that can be made here: {reason[:400]}") from error


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    """The description of the model, after the check of every file's hash."""
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} has changed since it was saved")
            if archive.getinfo(_CONFIG).file_size > _MAX_CONFIG_BYTES:
                raise zipfile.BadZipFile(f"its {_CONFIG} has more than {_MAX_CONFIG_BYTES:,} bytes")
            return parse_json(archive.read(_CONFIG), f"{_CONFIG} of {path}")
    except KeyError:
        raise ModelFolderError(
            f"{path} is no file of Keras: it has no {_CONFIG}; give a file that model.save wrote"
        ) from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ForeignDataError,
        NotImplementedError,
    ) as error:
        raise ModelFolderError(f"{path} is damaged: {error}; take another copy") from None


def _require_memory(path: pathlib.Path, config: dict[str, Any], allow_oversize: bool) -> None:
    """Checks that a language model fits into memory; the size of other models is not known before."""
    if config.get("registered_name") != _OURS:
        return
    try:
        fields = config["config"]["backbone"]["config"]
        names = set(ModelConfig.__dataclass_fields__)
        model = ModelConfig(**{name: value for name, value in fields.items() if name in names})
    except (ConfigError, TypeError, KeyError, AttributeError) as error:
        raise ModelFolderError(f"{path} describes no model ({error}); take another copy") from error
    require_memory(model, allow_oversize)
