"""The names that PEFT has for the layers of a model: those of its family in `transformers`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from highnoon.models.adapters.adapter_file import AdapterError
from highnoon.models.causal_lm import LanguageModel
from highnoon.models.hugging_face.families import family_for
from highnoon.models.hugging_face.tensor_rules import SAME, TRANSPOSED
from highnoon.models.lora_factors import layers_by_path, layers_with_factors
from highnoon.models.saving import ModelFolderError

_WEIGHT = ".weight"


class PeftModules(NamedTuple):
    """The modules of a model that can have factors in PEFT's form.

    Args:
        by_path: The module of a layer's path, such as `model.layers.0.self_attn.q_proj`.
        published: The names of all published tensors, those of the modules included.
        fan_in_fan_out: Whether a module holds its kernel as (inputs, outputs), as `Conv1D` does.
    """

    by_path: dict[str, str]
    published: list[str]
    fan_in_fan_out: bool


def peft_modules(model: LanguageModel) -> PeftModules:
    """Returns the modules of `transformers` that hold the kernels of a model's layers.

    A kernel that is published in one tensor of its own has a module; the stacked kernels of experts, routers,
    the head and fused projections have none. Two more are left out, as PEFT does: the output projections of
    Mamba, and dense feed-forwards of a model with experts, whose names PEFT takes for those of fused experts.

    Raises:
        AdapterError: no family of `transformers` has the model's pattern.
    """
    try:
        family, _ = family_for(model.config, model.published_as)
    except ModelFolderError as error:
        raise AdapterError(
            f"an adapter in the form of PEFT needs a family of transformers: {error}"
        ) from None
    with _plain_kernels(model):
        weights = list(family.weights(model))
        plain = {
            id(weight.variable): weight
            for weight in weights
            if len(weight.names) == 1
            and weight.span is None
            and weight.rule in (SAME, TRANSPOSED)
            and len(weight.variable.shape) == 2
            and weight.names[0].endswith(_WEIGHT)
        }
        found = {
            path: plain[id(layer._kernel)]
            for path, layer in layers_by_path(model.backbone).items()
            if hasattr(layer, "enable_lora") and id(getattr(layer, "_kernel", None)) in plain
        }
    published = [name for weight in weights for name in weight.names]
    names = [weight.names[0] for weight in found.values()]
    by_path = {
        path: weight.names[0].removesuffix(_WEIGHT)
        for path, weight in found.items()
        if names.count(weight.names[0]) == 1 and not _is_refused_by_peft(weight.names[0], published)
    }
    return PeftModules(by_path, published, any(weight.rule is SAME for weight in found.values()))


def _is_refused_by_peft(name: str, published: list[str]) -> bool:
    has_experts = any(".experts." in other for other in published)
    return name.endswith(".mixer.out_proj.weight") or (has_experts and ".mlp." in name)


@contextmanager
def _plain_kernels(model: LanguageModel) -> Iterator[None]:
    """Within it `layer.kernel` is the variable, without the factors' product."""
    layers = layers_with_factors(model.backbone).values()
    for layer in layers:
        layer.lora_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.lora_enabled = True
