"""What users of Keras and KerasHub call on a language model, with texts and with files.

TensorFlow is used for `tf.data` alone, in which KerasHub turns texts into rows.
"""

from __future__ import annotations

import math
import pathlib
from types import MappingProxyType
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from highnoon.config import PRESETS, TrainingConfig
from highnoon.config.known_arguments import known_arguments
from highnoon.files.expand_home import expand_home
from highnoon.files.print_text import print_text
from highnoon.models.from_preset import from_preset
from highnoon.models.language_model_preprocessor import (
    NO_LABELS,
    NO_TOKENIZER,
    LanguageModelPreprocessor,
    as_arrays,
    is_text,
)
from highnoon.models.layer_changes import apply_layer_changes, describe_layer_changes
from highnoon.models.lora_assets import LoraAssets
from highnoon.tokenization import BytePairTokenizer
from highnoon.tokenization.byte_pair.training_note import training_note

_LONGEST_ROW = 1024
_BATCH_SIZE = 32  # Keras's own
_FROM_TOKENIZER = "from the tokenizer"


class TextTask(keras_hub.models.CausalLM):
    """A KerasHub task whose preprocessor follows from its tokenizer.

    A subclass has `max_seq_length`, and sets `training_config` and `preprocessor` before it calls this
    constructor.
    """

    presets = MappingProxyType(PRESETS)
    """The configurations that `from_preset` knows by name."""

    training_config: TrainingConfig | None = None
    _optimizer_was_built = False

    def compile(
        self,
        optimizer: Any = "auto",
        loss: Any = "auto",
        *,
        weighted_metrics: Any = "auto",
        sampler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Prepares `fit` and `evaluate`; a new model is compiled with the defaults.

        Args:
            optimizer: `"auto"` takes AdamW with the learning rate, decay and clipping of `training_config`.
            loss: `"auto"` takes the cross entropy of the next token, a mean over supervised tokens.
            weighted_metrics: `"auto"` takes the accuracy of the most likely token.
            sampler: Not used; give `temperature`, `top_k` and `top_p` to `generate`.
            **kwargs: Other arguments of `keras.Model.compile`.

        Raises:
            ValueError: a `sampler`.
        """
        if sampler is not None:
            raise ValueError(
                f"`compile` takes no `sampler`; received {sampler!r}. Give generate(..., temperature=0) for "
                "greedy decoding, or its temperature, top_k and top_p"
            )
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = _default_optimizer(self.training_config or TrainingConfig())
        if isinstance(loss, str) and loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model as the saved one was; the optimizer's state is read after it."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self._optimizer_was_built and self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    @property
    def tokenizer(self) -> Any:
        return self._text_preprocessor.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._require_fitting(tokenizer)
        self._text_preprocessor.tokenizer = tokenizer

    def _require_fitting(self, tokenizer: Any) -> None:
        """Raises ValueError where a tokenizer has ids that the model does not take."""

    @property
    def preprocessor(self) -> Any:
        """What turns texts into rows in `fit`, `evaluate` and `predict`; None to take token ids alone.

        It follows from the tokenizer until another one is set. Token ids pass it unchanged.
        """
        if self._preprocessor != _FROM_TOKENIZER:
            return self._preprocessor
        return None if self.tokenizer is None else self._text_preprocessor

    @preprocessor.setter
    def preprocessor(self, preprocessor: Any) -> None:
        if isinstance(preprocessor, LanguageModelPreprocessor):
            self._require_fitting(preprocessor.tokenizer)
            # Not tracked: it has no weights, and is no layer of the model.
            object.__setattr__(self, "_text_preprocessor", preprocessor)
        object.__setattr__(self, "_preprocessor", preprocessor)

    def _set_first_preprocessor(self, preprocessor: Any) -> None:
        length = min(self.max_seq_length, _LONGEST_ROW)
        object.__setattr__(self, "_text_preprocessor", LanguageModelPreprocessor(sequence_length=length))
        self.preprocessor = _FROM_TOKENIZER if preprocessor is None else preprocessor
        object.__setattr__(self, "lora_assets", LoraAssets(self))

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float | None = None,
        shuffle: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Trains on texts, or on token ids, as Keras's `fit`.

        Texts are a list, an array or a tensor, a dict of `prompts` and `responses`, or a batched
        `tf.data.Dataset` of either. They are shuffled in every epoch, by Keras's global seed; a dataset is
        read in its own order. A model without a tokenizer trains one of its vocabulary size on the texts,
        as a `Trainer` does, and prints so; a `tf.data.Dataset` needs a model that has one.

        Returns:
            Keras's `History`.
        """
        if isinstance(validation_data, (list, np.ndarray, dict)) and is_text(validation_data):
            validation_data = (validation_data,)
        if is_text(x):
            _require_texts_alone(y, sample_weight)
            x = as_arrays(x)
            if validation_split and validation_data is None:
                x, validation_data = _split(x, validation_split)
            if self.tokenizer is None and self._preprocessor == _FROM_TOKENIZER:
                self._train_tokenizer(x, is_shown=kwargs.get("verbose", "auto") != 0)
            if shuffle:
                x = tf.data.Dataset.from_tensor_slices(x)
                x = x.shuffle(int(x.cardinality())).batch(batch_size or _BATCH_SIZE)
                batch_size = None
            validation_split, shuffle = None, False
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            sample_weight=sample_weight,
            validation_data=validation_data,
            validation_split=validation_split,
            shuffle=shuffle,
            **kwargs,
        )

    def _train_tokenizer(self, texts: Any, *, is_shown: bool) -> None:
        """Trains a tokenizer on the texts of `fit`."""
        arrays = keras.tree.flatten(texts)
        trained = BytePairTokenizer(self.vocab_size).train_from_texts(
            text for array in arrays for text in array.tolist()
        )
        self.tokenizer = trained
        if is_shown:
            print_text(training_note(trained, "these texts", "model"))

    def evaluate(self, x=None, y=None, batch_size=None, sample_weight=None, **kwargs: Any) -> Any:
        """Returns the loss and the metrics of texts, or of token ids, as Keras's `evaluate`."""
        if is_text(x):
            _require_texts_alone(y, sample_weight)
        return super().evaluate(x, y, batch_size=batch_size, sample_weight=sample_weight, **kwargs)

    @tf.autograph.experimental.do_not_convert  # so that errors are raised as they are
    def preprocess_samples(self, x, y=None, sample_weight=None):
        """Turns texts into rows; token ids are returned as they are."""
        if not is_text(x):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        if self.preprocessor is None:
            raise ValueError(NO_TOKENIZER if self.tokenizer is None else _PREPROCESSING_IS_OFF)
        if y is not None:
            raise ValueError(NO_LABELS)
        return super().preprocess_samples(x, y, sample_weight)

    @known_arguments
    def enable_lora(self, rank: int, target_layer_names: Any = None, alpha: float | None = None) -> None:
        """Freezes the model and trains LoRA factors; see `ReasoningBackbone.enable_lora`."""
        self.backbone.enable_lora(rank, target_layer_names, alpha)

    def score(
        self,
        token_ids,
        padding_mask=None,
        scoring_mode: str = "logits",
        layer_intercept_fn=None,
        target_ids=None,
    ):
        """Returns what the model predicts after each token of given ids.

        Args:
            token_ids: (b, t) ids, such as the first value of `preprocessor.generate_preprocess(texts)`.
            padding_mask: (b, t), 1 where there is a token; None where there is no padding.
            scoring_mode: `"logits"`, or `"loss"` for the cross entropy of `target_ids`.
            layer_intercept_fn: Must be None; KerasHub's models alone take one.
            target_ids: (b, t) the ids that should follow, for `"loss"`.

        Returns:
            Logits (b, t, v), or losses (b, t), float32.

        Raises:
            ValueError: another mode, or a loss without `target_ids`.
        """
        if layer_intercept_fn is not None:
            raise ValueError(
                "`layer_intercept_fn` must be None; build a keras.Model on `model.backbone.layers`"
            )
        if scoring_mode not in ("logits", "loss"):
            raise ValueError(f"`scoring_mode` must be 'logits' or 'loss'; received {scoring_mode!r}")
        inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
        logits = self({name: value for name, value in inputs.items() if value is not None}, training=False)
        if scoring_mode == "logits":
            return logits
        if target_ids is None:
            raise ValueError(
                "`scoring_mode='loss'` needs `target_ids`: the ids that should follow each token"
            )
        return keras.losses.sparse_categorical_crossentropy(target_ids, logits, from_logits=True)

    def summary(self, line_length: int | None = None, positions=None, print_fn=None, **kwargs: Any) -> None:
        """Prints the layers and their parameters, and which tokenizer turns texts into ids."""
        if self.tokenizer is not None:
            name, row = type(self.tokenizer).__name__, self._text_preprocessor.sequence_length
            say = print_fn or print_text
            say(f"Tokenizer: {name} of {self.tokenizer.vocab_size:,} ids, texts as rows of {row:,} tokens")
        keras.Model.summary(self, line_length=line_length, positions=positions, print_fn=print_fn, **kwargs)

    @classmethod
    def from_preset(cls, preset: str | pathlib.Path, load_weights: bool = True, **options: Any) -> Any:
        """Makes a model from a preset.

        Args:
            preset: One of `presets`, whose weights are new, or the folder of a saved model, a run, a
                checkpoint, of Hugging Face, or of `save_to_preset`.
            load_weights: Whether to read the weights of a folder; else they are new.
            **options: `dtype`, `allow_oversize`, and for one of `presets` the fields that replace its own.

        Raises:
            ConfigError: there is no such preset or folder, or an option does not fit.
            ModelFolderError: a folder cannot be read.

        Example:

        ```python
        import highnoon as hn

        model = hn.LanguageModel.from_preset("highnoon-nano", load_weights=False, num_reasoning_blocks=1)
        ```
        """
        return from_preset(cls, preset, load_weights, super().from_preset, **options)

    def save(self, filepath: str | pathlib.Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Writes a `.keras` file with the tokenizer, its chat template and the training configuration.

        Raises:
            ValueError: a name of HDF5, which keeps no tokenizer.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                f"HDF5 keeps no tokenizer; received {filepath}. Give a name that ends with .keras, or call "
                "hn.save_model(model, folder), or model.save_weights for the weights alone"
            )
        super().save(expand_home(filepath), overwrite=overwrite, **kwargs)

    def save_assets(self, folder: str | pathlib.Path) -> None:
        """Writes the tokenizer and its chat template into a `.keras` archive."""
        self._text_preprocessor.write_tokenizer(folder)

    def load_assets(self, folder: str | pathlib.Path) -> None:
        """Reads what `save_assets` wrote."""
        self._text_preprocessor.read_tokenizer(folder)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, and how quantization and LoRA changed the layers."""
        config = {**super().get_config(), "training_config": None}
        if self.training_config is not None:
            config["training_config"] = self.training_config.to_dict()
        if changes := describe_layer_changes(self.backbone):
            config["layer_changes"] = changes | ({"lora": self.backbone.lora} if self.backbone.lora else {})
        if "dtype" in changes:
            policy = keras.dtype_policies.get(changes["dtype"])
            config["backbone"]["config"]["dtype"] = keras.dtype_policies.serialize(policy)
        if self.optimizer is not None and self.optimizer.built:
            config["is_optimizer_built"] = True
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        changes, is_optimizer_built = config.pop("layer_changes", {}), config.pop("is_optimizer_built", False)
        model = super().from_config(config)
        apply_layer_changes(model.backbone, changes)
        model._optimizer_was_built = is_optimizer_built
        return model


def _require_texts_alone(y: Any, sample_weight: Any) -> None:
    """Keras drops the weights of samples without labels, and texts have labels of their own."""
    if y is not None:
        raise ValueError(NO_LABELS)
    if sample_weight is not None:
        raise ValueError(
            "texts take no `sample_weight`; give x, y, sample_weight = model.preprocessor(texts, "
            "sample_weight=weights) to `fit`"
        )


def _split(texts: Any, fraction: float) -> tuple[Any, Any]:
    """Returns the first texts, and the last `fraction` of them for validation."""
    if not 0 < fraction < 1:
        raise ValueError(f"`validation_split` must be in (0, 1); received {fraction!r}")
    num_texts = len(keras.tree.flatten(texts)[0])
    first = math.floor(num_texts * (1 - fraction))
    if not 0 < first < num_texts:
        raise ValueError(
            f"`validation_split`={fraction} of {num_texts} texts leaves one side empty; give more texts"
        )
    parts = [slice(None, first), slice(first, None)]
    train, held_out = (keras.tree.map_structure(lambda x, part=part: x[part], texts) for part in parts)
    return train, (held_out,)


_PREPROCESSING_IS_OFF = (
    "`model.preprocessor` is None, so texts are not taken; set it to "
    "highnoon.models.LanguageModelPreprocessor(model.tokenizer), or give `token_ids`"
)


def _default_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """AdamW by the numbers of the configuration, without its schedule."""
    return keras.optimizers.AdamW(
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        beta_1=config.adam_beta1,
        beta_2=config.adam_beta2,
        epsilon=config.adam_epsilon,
        global_clipnorm=config.gradient_clip,
    )
