"""A frozen model, given in memory or by the path of its folder, and known by the hash of its weights."""

from __future__ import annotations

import contextvars
import functools
import os
from typing import Any

import keras

from highnoon.config import ConfigError, shown
from highnoon.files.expand_home import expand_home
from highnoon.models.saving import ModelFolderError
from highnoon.training.frozen_models import weights_hash

_LOADING: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("paths being loaded", default=())


class FrozenModel:
    """A model, or the folder of one, that is loaded when it is first needed.

    Args:
        reference: A model, or the path of a folder that `save_model` wrote; `~` is the home folder.
        expected_hash: What `weights_hash` must give for its weights; None takes any.
        name: The argument that it was given as, for messages.

    Raises:
        ConfigError: `reference` is neither.
    """

    def __init__(self, reference: Any, expected_hash: str | None = None, name: str = "teacher") -> None:
        if not isinstance(reference, (str, os.PathLike, keras.Model)):
            raise ConfigError(
                f"`{name}` must be a model or the path of a saved one; received {shown(reference)}; a model "
                "that was given in memory is not saved with a run: give it again"
            )
        self.name = name
        is_model = isinstance(reference, keras.Model)
        # Whoever saves the path makes it absolute: a `~` would then be a folder of this name.
        self._reference: Any = reference if is_model else str(expand_home(reference))
        self._expected_hash = expected_hash

    @classmethod
    def read_all(cls, references: Any, hashes: Any, name: str = "experts") -> list[FrozenModel]:
        """Returns several frozen models that were given as one argument.

        Args:
            references: A list of at least two models or paths.
            hashes: The hash that each must have, or None; None takes any.
            name: The argument.

        Raises:
            ConfigError: there are fewer, or not as many hashes as models.
        """
        if not isinstance(references, (list, tuple)) or len(references) < 2:
            raise ConfigError(
                f"`{name}` must be a list of at least two models or paths; received {shown(references)}"
            )
        expected = [None] * len(references) if hashes is None else list(hashes)
        if len(expected) != len(references):
            raise ConfigError(
                f"there must be a hash for each of {len(references)} {name}; received {len(expected)} hashes"
            )
        pairs = enumerate(zip(references, expected, strict=True))
        return [cls(model, found, f"{name}[{number}]") for number, (model, found) in pairs]

    @property
    def path(self) -> str | None:
        """Where the model was loaded from, None for a model in memory."""
        return None if isinstance(self._reference, keras.Model) else self._reference

    @property
    def is_identified(self) -> bool:
        """Whether the model's weights must have a certain hash."""
        return self._expected_hash is not None

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model itself, which is read and never changed.

        Raises:
            ConfigError: there is no model at its path, or one that is named by a part of its own.
        """
        if isinstance(self._reference, keras.Model):
            return self._reference
        from highnoon.models import load_model

        path, outer = os.path.realpath(self._reference), _LOADING.get()
        if path in outer:
            raise ConfigError(
                f"`{self.name}` must be another model than the one that it is a part of; received {path}; "
                "give the path of another one"
            )
        loading = _LOADING.set((*outer, path))
        try:
            return load_model(self._reference)
        except ModelFolderError as error:
            raise ConfigError(f"`{self.name}` cannot be loaded: {error}") from error
        finally:
            _LOADING.reset(loading)

    @functools.cached_property
    def hash(self) -> str:
        """The hash of the model's weights.

        Raises:
            ConfigError: it is not the expected one.
        """
        found = weights_hash(self.model)
        if self._expected_hash not in (None, found):
            where = f", the model at {self.path}," if self.path else ""
            raise ConfigError(
                f"`{self.name}`{where} must have weights {self._expected_hash}; received {found}, so it has "
                "changed; give the model of before, or begin again with this one"
            )
        return found

    def require_tokenizer(self, tokenizer: Any) -> None:
        """Checks that the model has the run's tokenizer, where it has one.

        Raises:
            ConfigError: it has another.
        """
        own = getattr(self.model, "tokenizer", None)
        if own is not None and own.fingerprint() != tokenizer.fingerprint():
            raise ConfigError(
                f"`{self.name}` must have the tokenizer of the run, {tokenizer}; received a model with "
                f"{own}; give the model that the policy starts from"
            )

    def require_vocabulary(self, vocab_size: int | None) -> None:
        """Checks that the model has the ids of the model that is trained, where both say how many.

        Raises:
            ConfigError: it has another number.
        """
        own = getattr(self.model, "vocab_size", None)
        if None not in (own, vocab_size) and own != vocab_size:
            raise ConfigError(
                f"`{self.name}` must have the vocabulary of the policy, {vocab_size:,} ids; received a model "
                f"of {own:,}; give the model that the policy starts from"
            )

    def release(self) -> None:
        """Frees a model that was loaded from a path; it is loaded again if it is needed."""
        if self.path is not None:
            self.__dict__.pop("model", None)
