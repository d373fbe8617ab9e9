"""The methods of a language model that generate text."""

from __future__ import annotations

from typing import Any


class Generates:
    """A mixin of models with the protocol of decoding."""

    def generate(self, prompt: Any, **options: Any) -> Any:
        """Continues a prompt; see `highnoon.inference.generation.generate`."""
        from highnoon.inference import generate

        return generate(self, prompt, **options)

    def generate_batch(self, prompts: Any, **options: Any) -> Any:
        """Continues many prompts; see `highnoon.inference.batch_generation.generate_batch`."""
        from highnoon.inference import generate_batch

        return generate_batch(self, prompts, **options)
