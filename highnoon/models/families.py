"""Families: the model classes that are created, saved, loaded and resumed by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import keras

from highnoon.config import ConfigError
from highnoon.files.shown import shown
from highnoon.models.layer_changes import apply_layer_changes, describe_layer_changes
from highnoon.models.memory import LimitExceededError, available_memory
from highnoon.models.registry import Registry

_Class = TypeVar("_Class", bound=type)
_LIBRARIES = ("keras", "keras_hub")

FAMILIES: Registry[Any] = Registry(
    "model family",
    "highnoon.families",
    {
        "language_model": "highnoon.models.language_model_family:LanguageModelFamily",
        "actor_critic": "highnoon.alignment.environments.actor_critic:ActorCritic",
        "expert_hidden_fusion": "highnoon.experts.hidden_fusion_family:HiddenFusionFamily",
        "expert_mixture": "highnoon.experts.mixture_family:MixtureFamily",
        "expert_router": "highnoon.experts.router:ExpertRouter",
        "gaussian_diffuser": "highnoon.experts.diffuser.gaussian_diffuser:GaussianDiffuser",
        "memory_model": "highnoon.experts.memory_family:MemoryFamily",
        "policy_with_values": (
            "highnoon.alignment.policy_gradient.policy_with_values_family:PolicyWithValuesFamily"
        ),
        "reward_model": "highnoon.alignment.reward_model:RewardModel",
    },
)


class Family:
    """How the models of one class are described in `config.json` and made again.

    The description holds the family's name, the model's `get_config()` and, for a model that is built when
    it is first called, its `get_build_config()`. A subclass may describe its models in another way.

    Args:
        name: The registered name.
        model_class: A subclass of `keras.Model`; None takes the attribute of the subclass.

    Attributes:
        model_class: The class of the family's models.
    """

    model_class: ClassVar[Any] = None

    def __init__(self, name: str, model_class: Any = None) -> None:
        self.name = name
        if model_class is not None:
            _require_config(model_class, name)
            self.model_class = model_class  # type: ignore[misc]

    def create(self, dtype: Any = "auto", allow_oversize: bool = False, **fields: Any) -> keras.Model:
        """Returns a model with new weights.

        Args:
            dtype: A dtype policy; `"auto"` lets the class choose.
            allow_oversize: Whether to build a model that does not fit into memory; this family cannot tell
                before it is built.
            **fields: Arguments of the class's constructor.
        """
        try:
            return self.model_class(**_with_dtype(fields, dtype))
        except TypeError as error:
            raise ConfigError(f"`{self.name}` cannot be created from these arguments: {error}") from error

    def describe(self, model: keras.Model) -> dict[str, Any]:
        """Returns JSON values from which `make` makes the model again, without its weights.

        Raises:
            ConfigError: the model's configuration is not made of JSON values.
        """
        config = model.get_config()
        _require_plain(config, self.name)
        return {"config": config, "build": model.get_build_config(), **describe_layer_changes(model)}

    def check(self, description: dict[str, Any]) -> None:
        """Checks a description before anything is allocated.

        Raises:
            ConfigError: it is not one of this family.
        """
        config = description.get("config")
        if not isinstance(config, dict):
            raise ConfigError(f"`config` must be a mapping; received {shown(config)}")
        _require_plain(config, self.name)

    def require_memory(self, description: dict[str, Any], num_bytes: int, allow_oversize: bool) -> None:
        """Checks that a described model fits into memory, before it is made.

        Args:
            description: Of the model.
            num_bytes: Size of the file with its weights.
            allow_oversize: Whether to check nothing.

        Raises:
            LimitExceededError: it does not.
        """
        available = available_memory()
        if num_bytes > available and not allow_oversize:
            raise LimitExceededError(
                f"the model's weights need {num_bytes / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are "
                "available; free memory, or pass allow_oversize=True"
            )

    def make(self, description: dict[str, Any], dtype: Any = "auto") -> keras.Model:
        """Returns the described model, its weights not yet those that were saved.

        Args:
            description: What `describe` returned.
            dtype: A dtype policy; `"auto"` takes the one that the model was saved with.
        """
        model = self.model_class.from_config(_with_dtype(description["config"], dtype))
        if not model.built and description.get("build"):
            # The scope that a call opens, in which the saved weights were named.
            with keras.name_scope(model.name):
                model.build_from_config(_with_tuples(description["build"]))
            model.built = True
        apply_layer_changes(model, description)
        return model


def register_family(name: str) -> Callable[[_Class], _Class]:
    """Registers a model class under the name that `create_model` and `config.json` use.

    The class must define `get_config`, and return JSON values from it, from which `from_config` (by default
    the constructor) makes an equal model. It may also define, as `LanguageModel` does:

    - `loss_terms(batch, training)`: its loss, see `highnoon.training.objective`; with a further argument
      `token_losses` a run can report the losses of tasks;
    - `flops_per_token(row_length)` and `activation_bytes(rows, length)`, for the run's report and preflight;
    - `vocab_size`, `max_seq_length` and `tokenizer`; a tokenizer is saved with the model;
    - `separates_segments`: whether it reads `segment_ids`, so that rows may hold several documents; models
      with `loss_terms` do where they do not say otherwise.

    `load_model` finds a family in a new process where the module that registers it was imported, or where
    its package is installed with an entry point in the group `highnoon.families`:
    `bag_of_words = my_package.bag_of_words:BagOfWords`.

    Args:
        name: Letters, digits and underscores.

    Returns:
        A decorator of a subclass of `keras.Model`, or of `Family` for models that are described otherwise.

    Raises:
        ConfigError: another family has that name, or the class is neither.

    Example:

    ```python
    import tempfile
    import keras
    import numpy as np
    import highnoon as hn
    from highnoon.models import register_family

    @register_family("next_letter")
    class Bigram(keras.Model):
        def __init__(self, vocab_size=300, **kwargs):
            super().__init__(**kwargs)
            self.table = keras.layers.Embedding(vocab_size, vocab_size)
            self.vocab_size = vocab_size

        def call(self, inputs, training=None):
            return self.table(inputs["token_ids"] if isinstance(inputs, dict) else inputs)

        def get_config(self):
            return {**super().get_config(), "vocab_size": self.vocab_size}

    model = hn.create_model("next_letter", vocab_size=50)
    ids = np.array([[2, 7, 9]])
    logits = model(ids)  # makes the weights
    with tempfile.TemporaryDirectory() as folder:
        hn.save_model(model, f"{folder}/model")
        again = hn.load_model(f"{folder}/model")
    assert type(again) is Bigram and np.array_equal(again(ids), logits)
    ```
    """

    def register(cls: _Class) -> _Class:
        if not (isinstance(cls, type) and issubclass(cls, (keras.Model, Family))):
            raise ConfigError(f"`{name}` must be a subclass of keras.Model or Family; received {cls!r}")
        if not issubclass(cls, Family):
            _require_config(cls, name)
        FAMILIES.register(name, cls)
        return cls

    return register


def family_named(name: str) -> Family:
    """Returns the family of a name.

    Raises:
        ConfigError: there is none; the message says how one of another package becomes known.
    """
    cls = FAMILIES[name]
    return cls(name) if issubclass(cls, Family) else Family(name, cls)


def family_of(model: keras.Model) -> Family | None:
    """Returns the family of a model, or None where its class is not registered.

    A class may name its family by the attribute `family_name`, which need not be imported then. A model
    whose class derives from `LanguageModel` without a name of its own is a language model.
    """
    name = FAMILIES.name_of(type(model)) or getattr(type(model), "family_name", None)
    if name is not None:
        return family_named(name)
    for other in FAMILIES.loaded():
        cls = FAMILIES[other]
        if issubclass(cls, Family) and type(model) is cls.model_class:
            return cls(other)
    language_model = family_named("language_model")
    return language_model if isinstance(model, language_model.model_class) else None


def _require_config(cls: Any, name: str) -> None:
    """The configuration that Keras derives for a model holds the defaults, not the given arguments."""
    if cls.get_config.__module__.startswith("keras.") and not cls.__module__.startswith("keras."):
        raise ConfigError(
            f"the class of the model family `{name}`, {cls.__qualname__}, must define `get_config`: return "
            "{**super().get_config(), ...} with the constructor's arguments"
        )


def _with_dtype(config: dict[str, Any], dtype: Any) -> dict[str, Any]:
    is_auto = isinstance(dtype, str) and dtype == "auto"
    return dict(config) if is_auto else {**config, "dtype": dtype}


def _require_plain(value: Any, name: str) -> None:
    """Keras imports whatever module a configuration names; only its own libraries' are allowed."""
    if isinstance(value, dict):
        module = value.get("module")
        if isinstance(module, str) and module.split(".")[0] not in _LIBRARIES:
            raise ConfigError(
                f"the configuration of a `{name}` names the module {shown(module)}; its `get_config` must "
                "return numbers, texts, booleans, None, and lists and mappings of them"
            )
        for key, part in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"the configuration of a `{name}` has the key {shown(key)}; keys are texts")
            _require_plain(part, name)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _require_plain(part, name)
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise ConfigError(
            f"the configuration of a `{name}` holds {shown(value)}, which JSON cannot; let its `get_config` "
            "return plain values"
        )


def _with_tuples(value: Any) -> Any:
    """Shapes as Keras wants them; JSON turned their tuples into lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    if isinstance(value, list):
        is_shape = all(part is None or isinstance(part, int) for part in value)
        return tuple(value) if is_shape else [_with_tuples(part) for part in value]
    return value
