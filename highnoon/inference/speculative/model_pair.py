"""The two models of speculative decoding as one object."""

from __future__ import annotations

import weakref
from typing import Any


class ModelPair:
    """A target and its draft (None for look-up in the text), as one object with variables."""

    def __init__(self, target: Any, draft: Any):
        self._target = weakref.ref(target)
        self._draft = None if draft is None else weakref.ref(draft)

    @property
    def target(self) -> Any:
        return self._target()

    @property
    def draft(self) -> Any:
        return None if self._draft is None else self._draft()

    @property
    def models(self) -> list[Any]:
        """The target and, if there is one, the draft."""
        return [self.target] if self._draft is None else [self.target, self.draft]

    @property
    def variables(self) -> list[Any]:
        return [variable for model in self.models for variable in model.variables]
