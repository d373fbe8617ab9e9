"""Text that the model writes while it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highnoon.callbacks.event_callback import EventCallback


class SampleText(EventCallback):
    """Continues prompts at every evaluation and sends what came as an event `sample`.

    The draws have a seed of their own: a run with samples takes the same steps as one without.

    Args:
        prompts: Texts to continue, at least one.
        max_length: New tokens of each.
        temperature: 0 takes the likeliest token.
        seed: Of the draws.

    Raises:
        ValueError: no prompt.
        TypeError: at the run's start, a model without `generate`.
    """

    def __init__(
        self, prompts: Sequence[str], max_length: int = 64, temperature: float = 0.8, seed: int = 0
    ) -> None:
        super().__init__()
        if not prompts or isinstance(prompts, str):
            raise ValueError(f"`prompts` must be a list of at least one text; received {prompts!r}")
        self._prompts = list(prompts)
        self._options = {"max_length": max_length, "temperature": temperature, "seed": seed}

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "train_begin" and not hasattr(self.model, "generate"):
            raise TypeError(f"a {type(self.model).__name__} has no `generate`; leave SampleText out")
        if event["event"] == "evaluation":
            texts = self.model.generate(self._prompts, **self._options)
            samples = [
                {"prompt": prompt, "text": text}
                for prompt, text in zip(self._prompts, texts, strict=True)
            ]
            self.send("sample", step=event["step"], stage=event["stage"], samples=samples)
