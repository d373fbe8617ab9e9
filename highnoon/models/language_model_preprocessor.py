"""From texts to the inputs, labels and weights that Keras's `fit` trains a language model on."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import keras_hub
import numpy as np

from highnoon.tokenization import Tokenizer, load_tokenizer

_TOKENIZER_FILE = "tokenizer.json"
_PROMPTS, _RESPONSES = "prompts", "responses"
_EXPECTED = 'a text, texts, or {"prompts": texts, "responses": texts}'


@keras.saving.register_keras_serializable(package="highnoon")
class LanguageModelPreprocessor(keras_hub.models.CausalLMPreprocessor):
    """Turns texts into padded rows: token ids, the next token as label, and loss weights.

    A text becomes one row `[bos] text [eos]`, padded or cut to `sequence_length` tokens, as in KerasHub. The
    loss of a row is that of HighNoon's Trainer for a document of its own: padding has weight 0.

    Args:
        tokenizer: A HighNoon tokenizer; None until one is set.
        sequence_length: Tokens of a row. Longer texts are cut.
        add_start_token: Whether a text begins with the begin token, where the tokenizer has one.
        add_end_token: Whether a text ends with the end token, where the tokenizer has one.
        **kwargs: The arguments of `keras.layers.Layer`.

    Inputs:
        A text, texts, or a dict of `prompts` and `responses`, of which the responses alone are supervised;
        Python strings, NumPy arrays or TensorFlow tensors, also within `tf.data`. `sample_weight` (b,)
        multiplies the loss weights of a row.

    Returns:
        `(x, y, sample_weight)`: `x` a dict of `token_ids` and `padding_mask`, all of shape
        (b, `sequence_length`), or (`sequence_length`,) for a single text.

    Raises:
        ValueError: no tokenizer, inputs that are no texts, or labels: a text has its own.

    Example:

    ```python
    from highnoon.models import LanguageModelPreprocessor
    from highnoon.tokenization import ByteTokenizer

    preprocessor = LanguageModelPreprocessor(ByteTokenizer(), sequence_length=6)
    x, y, sample_weight = preprocessor(["hi"])
    assert x["token_ids"].tolist() == [[2, 111, 112, 3, 0, 0]]
    assert y.tolist() == [[111, 112, 3, 0, 0, 0]] and sample_weight.tolist() == [[1, 1, 1, 0, 0, 0]]
    ```
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        sequence_length: int = 1024,
        add_start_token: bool = True,
        add_end_token: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, sequence_length, add_start_token, add_end_token, **kwargs)
        self.built = True

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, x, y=None, sample_weight=None, sequence_length=None):
        if y is not None:
            raise ValueError(NO_LABELS)
        length = sequence_length or self.sequence_length
        texts = _as_dict(x)
        if self._use_tf_workflow():
            rows = self._rows_in_graph(texts, length)
        else:
            rows = self._rows(texts, length)
        token_ids, is_token, is_supervised = rows
        weights = is_supervised[..., 1:]
        if sample_weight is not None:
            weights = weights * keras.ops.reshape(sample_weight, (-1, 1))
        x = {"token_ids": token_ids[..., :-1], "padding_mask": is_token[..., :-1]}
        return keras.utils.pack_x_y_sample_weight(x, token_ids[..., 1:], weights)

    def generate_preprocess(self, x, sequence_length=None):
        """Returns the `token_ids` and `padding_mask` of prompts, which end without an end token."""
        length = sequence_length or self.sequence_length
        prompts, is_single = _texts(x)
        ids = [[*self._start(), *row] for row in self._encoded(prompts)]
        arrays = _padded(ids, length, self._pad_id)
        arrays = [array[0] for array in arrays] if is_single else arrays
        return dict(zip(("token_ids", "padding_mask"), arrays, strict=True))

    def generate_postprocess(self, x):
        """Returns the texts of `token_ids` where `padding_mask` holds."""
        token_ids, mask = (keras.ops.convert_to_numpy(x[name]) for name in ("token_ids", "padding_mask"))
        rows = zip(np.atleast_2d(token_ids), np.atleast_2d(mask), strict=True)
        texts = [self._require_tokenizer().decode(ids[kept > 0].tolist()) for ids, kept in rows]
        return texts if token_ids.ndim == 2 else texts[0]

    def get_config(self) -> dict[str, Any]:
        """The tokenizer is not part of it: `save_assets` writes it."""
        return {
            **keras.layers.Layer.get_config(self),
            "sequence_length": self.sequence_length,
            "add_start_token": self.add_start_token,
            "add_end_token": self.add_end_token,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LanguageModelPreprocessor:
        return cls(**config)

    def write_tokenizer(self, folder: str | pathlib.Path) -> None:
        """Writes the tokenizer, if there is one, and its chat template into a folder."""
        if self.tokenizer is not None:
            self.tokenizer.save(pathlib.Path(folder) / _TOKENIZER_FILE)

    def read_tokenizer(self, folder: str | pathlib.Path) -> None:
        """Reads what `write_tokenizer` wrote; a folder without a tokenizer changes nothing."""
        file = pathlib.Path(folder) / _TOKENIZER_FILE
        if file.is_file():
            self.tokenizer = load_tokenizer(file)

    def save_to_preset(self, preset_dir: str | pathlib.Path) -> None:
        """Writes the tokenizer into a preset of KerasHub; the model's own files hold the rest."""
        self.write_tokenizer(preset_dir)

    def load_preset_assets(self, preset: str) -> None:
        """Reads the tokenizer of a preset that is a folder."""
        self.read_tokenizer(preset)

    @property
    def _pad_id(self) -> int:
        return self._require_tokenizer().pad_token_id or 0

    def _require_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError(NO_TOKENIZER)
        return self.tokenizer

    def _start(self) -> list[int]:
        token_id = self._require_tokenizer().bos_token_id
        return [token_id] if self.add_start_token and token_id is not None else []

    def _end(self) -> list[int]:
        token_id = self._require_tokenizer().eos_token_id
        return [token_id] if self.add_end_token and token_id is not None else []

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        return self._require_tokenizer().batch_encode(list(texts), add_special_tokens=False)

    def _rows(self, texts: dict[str, Any], length: int) -> list[Any]:
        """Token ids, mask and supervised tokens, (b, length + 1) or (length + 1,)."""
        prompts, is_single = _texts(texts[_PROMPTS])
        rows = [[*self._start(), *ids] for ids in self._encoded(prompts)]
        unsupervised = [len(row) if _RESPONSES in texts else 0 for row in rows]
        if _RESPONSES in texts:
            responses, _ = _texts(texts[_RESPONSES])
            if len(responses) != len(prompts):
                raise ValueError(
                    "`prompts` and `responses` must be equally many; "
                    f"received {len(prompts)} and {len(responses)}"
                )
            rows = [row + ids for row, ids in zip(rows, self._encoded(responses), strict=True)]
        rows = [[*row, *self._end()] for row in rows]
        token_ids, is_token = _padded(rows, length + 1, self._pad_id)
        is_answer = np.arange(length + 1)[None] >= np.asarray(unsupervised, np.int32)[:, None]
        arrays = [token_ids, is_token, (is_token * is_answer).astype(np.float32)]
        return [array[0] for array in arrays] if is_single else arrays

    def _rows_in_graph(self, texts: dict[str, Any], length: int) -> list[Any]:
        """The same within `tf.data`, which calls back into Python."""
        import tensorflow as tf

        tensors = {name: tf.convert_to_tensor(value) for name, value in texts.items()}
        for tensor in tensors.values():
            if tensor.dtype != tf.string:
                raise ValueError(f"expected {_EXPECTED}; received {tensor.dtype.name}")

        def read(*values: Any) -> list[Any]:
            return self._rows(dict(zip(tensors, values, strict=True)), length)

        rows = tf.numpy_function(
            read, list(tensors.values()), [tf.int32, tf.int32, tf.float32], stateful=False
        )
        shape = tensors[_PROMPTS].shape
        for row in rows:
            row.set_shape([*shape, length + 1])
        return list(rows)


NO_TOKENIZER = (
    "texts need a tokenizer and the model has none; set `model.tokenizer` to hn.load_tokenizer(folder) or to "
    "highnoon.tokenization.BytePairTokenizer(vocab_size).train_from_texts(texts), or give `token_ids`"
)

NO_LABELS = "texts take no labels `y`: the next token is the label; give the texts alone"


def is_text(x: Any) -> bool:
    """Whether an input of `fit` holds texts, and not token ids."""
    if isinstance(x, dict):
        return "token_ids" not in x and any(is_text(value) for value in x.values())
    if isinstance(x, (list, tuple)):
        return bool(x) and is_text(x[0])
    if isinstance(x, (str, bytes)):
        return True
    dtype = getattr(x, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.kind in "US" or (dtype.kind == "O" and is_text(np.ravel(x)[:1].tolist()))
    return dtype is not None and "string" in str(dtype)


def as_arrays(x: Any) -> Any:
    """Returns texts as an array of Python strings, a dict of them as a dict of arrays."""
    if isinstance(x, dict):
        return {name: as_arrays(value) for name, value in _as_dict(x).items()}
    texts, _ = _texts(x)
    return np.asarray(texts, object)


def _as_dict(x: Any) -> dict[str, Any]:
    if not isinstance(x, dict):
        return {_PROMPTS: x}
    if set(x) != {_PROMPTS, _RESPONSES}:
        raise ValueError(f"expected {_EXPECTED}; received a dict of {', '.join(map(repr, x)) or 'nothing'}")
    return {name: x[name] for name in (_PROMPTS, _RESPONSES)}


def _texts(x: Any) -> tuple[list[str], bool]:
    """Texts of any kind as Python strings, and whether there was a single one."""
    if hasattr(x, "numpy"):
        x = x.numpy()
    if isinstance(x, np.ndarray):
        x = x.tolist()
    is_single = isinstance(x, (str, bytes))
    texts = [x] if is_single else list(x) if isinstance(x, (list, tuple)) else [x]
    for text in texts:
        if not isinstance(text, (str, bytes)):
            raise ValueError(f"expected {_EXPECTED}; received {type(text).__name__}")
    return [text.decode() if isinstance(text, bytes) else text for text in texts], is_single


def _padded(rows: Sequence[Sequence[int]], length: int, pad_id: int) -> list[Any]:
    """Rows cut or padded to a length, and 1 where there is a token."""
    token_ids = np.full((len(rows), length), pad_id, np.int32)
    is_token = np.zeros((len(rows), length), np.int32)
    for index, row in enumerate(rows):
        count = min(len(row), length)
        token_ids[index, :count] = row[:count]
        is_token[index, :count] = 1
    return [token_ids, is_token]
