"""Gives a model those weights of a saved one that fit it, and says which do not."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib

import keras

from highnoon.config import require_number
from highnoon.models.arrays import array_shapes, load_arrays, variable_names
from highnoon.models.find_model import find_model
from highnoon.models.saving import WEIGHTS_FILE, ModelFolderError, saved_weights

LEAST_FRACTION = 0.9
_LISTED = 8


@dataclasses.dataclass(frozen=True)
class MatchingWeights:
    """Which weights of a folder fit a model, by name and shape.

    Args:
        loaded: Names that both have, with one shape.
        skipped: Names of the folder that the model does not have, or not in this shape.
        missing: Names of the model for which the folder has nothing that fits.
        fraction: Parameters of the model that the folder has, in [0, 1].
    """

    loaded: list[str]
    skipped: list[str]
    missing: list[str]
    fraction: float

    @classmethod
    def between(cls, model: keras.Model, folder: pathlib.Path) -> MatchingWeights:
        """Returns what fits, from the names and shapes alone.

        Args:
            model: Receives the weights.
            folder: A saved model or a checkpoint.

        Raises:
            ValueError: the file of weights is damaged.
        """
        saved, weights = array_shapes(folder / WEIGHTS_FILE), saved_weights(model)
        shapes = {name: tuple(one.shape) for name, one in zip(variable_names(weights), weights, strict=True)}
        loaded = [name for name, shape in shapes.items() if saved.get(name) == shape]
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        return cls(
            loaded=loaded,
            skipped=[f"{name} {saved[name]}" for name in saved if saved[name] != shapes.get(name)],
            missing=[f"{name} {shape}" for name, shape in shapes.items() if saved.get(name) != shape],
            fraction=sum(sizes[name] for name in loaded) / max(sum(sizes.values()), 1),
        )

    @property
    def is_complete(self) -> bool:
        """Whether both have the same weights."""
        return not self.skipped and not self.missing

    def __str__(self) -> str:
        parts = {"skipped": self.skipped, "missing": self.missing, "loaded": self.loaded}
        listed = ", ".join(f"{len(names)} {what}{_listing(names)}" for what, names in parts.items())
        return f"{self.fraction:.1%} of the parameters: {listed}"


def load_matching_weights(
    model: keras.Model, path: str | os.PathLike[str], least_fraction: float = LEAST_FRACTION
) -> MatchingWeights:
    """Gives a model the weights of a folder that have the same names and shapes; the others stay.

    Args:
        model: Receives the weights.
        path: A saved model or a checkpoint, or what `find_model` takes for one.
        least_fraction: Parameters of the model that must be there, in [0, 1]; below it nothing is changed.

    Returns:
        What was loaded, skipped and missing.

    Raises:
        ModelFolderError: there are no weights, or fewer fit.

    Example:

    ```python
    import highnoon as hn
    from highnoon.models.matching_weights import load_matching_weights

    shape = {"vocab_size": 300, "embedding_dim": 32, "num_reasoning_blocks": 1, "num_heads": 1}
    hn.save_model(hn.create_model("highnoon-nano", **shape), "small")
    deeper = hn.create_model("highnoon-nano", **{**shape, "num_reasoning_blocks": 2})
    match = load_matching_weights(deeper, "small", least_fraction=0.5)
    assert match.missing and not match.skipped
    ```
    """
    require_number("least_fraction", least_fraction, least=0, most=1)
    folder = find_model(path)
    if not (folder / WEIGHTS_FILE).is_file():
        raise ModelFolderError(f"there is no {WEIGHTS_FILE} in {folder}; give a saved model or a checkpoint")
    match = MatchingWeights.between(model, folder)
    if match.fraction < least_fraction:
        raise ModelFolderError(
            f"at least {least_fraction:.0%} of the parameters must fit; {folder} has {match}. Create the "
            "model with the configuration in its config.json"
        )
    weights, arrays = saved_weights(model), load_arrays(folder / WEIGHTS_FILE)
    fitting = set(match.loaded)
    for name, weight in zip(variable_names(weights), weights, strict=True):
        if name in fitting:
            weight.assign(arrays[name])
    return match


def _listing(names: list[str]) -> str:
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f" ({', '.join(names[:_LISTED])}{rest})" if names else ""
