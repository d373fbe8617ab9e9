"""The ways to draft tokens for speculative decoding, by name."""

from __future__ import annotations

import abc
import importlib
from typing import Any, ClassVar, TypeVar

from highnoon.files.nearest_name import unknown_name
from highnoon.files.shown import shown
from highnoon.inference.block_diffusion.next_token_model import NextTokenModel
from highnoon.inference.speculative.drafts import Drafts
from highnoon.inference.speculative.window import Window

_Class = TypeVar("_Class", bound="type[Drafter]")

_OURS = {
    "prompt_look_up": "highnoon.inference.speculative.prompt_look_up:PromptLookUp",
    "token_by_token": "highnoon.inference.speculative.token_by_token:TokenByToken",
    "block": "highnoon.inference.speculative.block_drafter:BlockDrafter",
}
_REGISTERED: dict[str, Any] = {}


class Drafter(abc.ABC):
    """A way to draft the tokens of a window. It has no state.

    Attributes:
        name: The registered name.
        takes_model: Whether it drafts by a model, which then has a cache.
        lowest_speed: The default of `SpeculativeGenerator`'s argument.
    """

    name: ClassVar[str]
    takes_model: ClassVar[bool] = True
    lowest_speed: ClassVar[float | None] = None

    def require_model(self, model: Any) -> None:
        """Checks a draft model, before anything is compiled.

        Args:
            model: As `decoding_model` returned it; None where there is none.

        Raises:
            ValueError: the drafter cannot use it.
        """
        if (model is not None) != self.takes_model:
            expected = "needs a `draft_model`" if self.takes_model else "takes no `draft_model`"
            raise ValueError(f"the drafter {self.name!r} {expected}; received {shown(model)}")

    @abc.abstractmethod
    def draft(self, model: Any, window: Window) -> tuple[Drafts, Any]:
        """Drafts tokens for the slots of a window that are not known.

        What a draft is drawn from must depend on tokens before its slot and on other random numbers alone.

        Args:
            model: The draft model, or None.
            window: What is known.

        Returns:
            The drafts with the distributions that they were drawn from, and the draft model's cache with the
            tokens that are read; None without a model.
        """


def register_drafter(cls: _Class) -> _Class:
    """Registers a drafter under its `name`.

    Raises:
        ValueError: the class is no `Drafter`, or another drafter has the name.
    """
    if not (isinstance(cls, type) and issubclass(cls, Drafter)):
        raise ValueError(f"a drafter must be a subclass of Drafter; received {shown(cls)}")
    path, taken = _path(cls), _OURS.get(cls.name)
    if taken is None:
        taken = _path(_REGISTERED.get(cls.name, cls))
    if taken != path:
        raise ValueError(f"a drafter {cls.name!r} exists already: {taken}; choose another name")
    _REGISTERED[cls.name] = cls
    return cls


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def drafter_named(name: str | None, model: Any) -> Drafter:
    """Returns a drafter; for None the one that suits the draft model.

    Args:
        name: `"prompt_look_up"`, `"token_by_token"`, `"block"` or a registered name.
        model: The draft model as `decoding_model` returned it, or None.

    Raises:
        ValueError: there is no such drafter, or it cannot use the model.
    """
    if name is None:
        suited = "block" if isinstance(model, NextTokenModel) else "token_by_token"
        name = "prompt_look_up" if model is None else suited
    if name not in _REGISTERED:
        if name not in _OURS:
            raise ValueError(unknown_name("drafter", str(name), [*_OURS, *_REGISTERED]))
        module, _, attribute = _OURS[name].partition(":")
        _REGISTERED[name] = getattr(importlib.import_module(module), attribute)
    drafter: Drafter = _REGISTERED[name]()
    drafter.require_model(model)
    return drafter
