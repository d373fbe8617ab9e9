"""Generates sample text during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highnoon.callbacks.event_callback import EventCallback
from highnoon.config import ConfigError, require_count, require_number, require_text, shown
from highnoon.inference.request import Request


class SampleText(EventCallback):
    """Continues prompts at every evaluation and sends the texts as an event `sample`.

    Sampling has its own seed: a run with samples takes the same steps as one without.

    Args:
        prompts: Texts to continue, at least one.
        max_length: Number of new tokens.
        temperature: Sampling temperature; 0 uses the most likely token.
        seed: Seed of the sampling.

    Raises:
        ConfigError: If there is no prompt, or a value is out of range.
        TypeError: At the start of the run, if the model has no `generate`.
        ValueError: At the start of the run, if a prompt leaves no room in the model's context.
    """

    def __init__(
        self, prompts: Sequence[str], max_length: int = 64, temperature: float = 0.8, seed: int = 0
    ) -> None:
        super().__init__()
        if not isinstance(prompts, (list, tuple)) or not prompts:
            raise ConfigError(f"`prompts` must be a list of at least one text; received {shown(prompts)}")
        self._prompts = [require_text("prompts", prompt) for prompt in prompts]
        require_count("max_length", max_length)
        require_number("temperature", temperature, least=0)
        require_count("seed", seed, least=0)
        self._options: dict[str, Any] = {"max_length": max_length, "temperature": temperature, "seed": seed}

    def require_model(self, model: Any) -> None:
        """Checks that a model can continue the prompts.

        Raises:
            TypeError: If the model has no `generate`.
            ValueError: If a prompt leaves no room in the model's context.
        """
        if not hasattr(model, "generate"):
            raise TypeError(f"a {type(model).__name__} has no `generate`; remove SampleText")
        if isinstance(getattr(model, "max_seq_length", None), int):
            Request.read(model, self._prompts, **self._options)

    def on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "train_begin":
            self.require_model(self.model)
        if event["event"] == "evaluation":
            texts = self.model.generate(self._prompts, **self._options)
            samples = [
                {"prompt": prompt, "text": text} for prompt, text in zip(self._prompts, texts, strict=True)
            ]
            self.send("sample", step=event["step"], stage=event["stage"], samples=samples)
