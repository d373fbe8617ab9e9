"""The family of fusions of hidden states: described by their router, their experts and their options."""

from __future__ import annotations

from typing import Any, ClassVar

from highnoon.experts.hidden_fusion import HiddenFusion
from highnoon.experts.mixture_family import MixtureFamily


class HiddenFusionFamily(MixtureFamily):
    """Fusions of the hidden states of frozen language models.

    The description is that of a mixture, with the fusion's `options`.
    """

    model_class: ClassVar[Any] = HiddenFusion
