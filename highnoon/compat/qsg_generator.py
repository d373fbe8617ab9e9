"""Speculative decoding with drafts from the text itself, under its former name."""

from __future__ import annotations

import time
from typing import Any

from highnoon.inference.decoding.beam import generate_beam
from highnoon.inference.generation import generate
from highnoon.inference.require_number import require_whole
from highnoon.inference.speculative.speculative_generation import SpeculativeGenerator

_STRATEGIES = ("greedy", "sample", "beam")


class QSGGenerator:
    """A wrapper of `SpeculativeGenerator` with prompt lookup, and of `generate_beam`.

    There is nothing quantum in it. "Quantum superposition generation" is speculative decoding: the next
    tokens are guessed from what followed in the text before, and one pass of the model checks them all.
    The output equals plain decoding; the speed-up depends only on the text: repetitive text such as code and
    tables is faster, prose may even be slower. `measure` times it.

    Args:
        model: A language model with a cache, see `generate`.
        num_superposition_states: Tokens that one forward pass checks; with `"beam"`, the number of beams.
        collapse_strategy: `"greedy"` takes the most likely token, `"sample"` draws, and `"beam"` searches
            with `generate_beam`, without drafts.
        quality_threshold: `acceptance_rate_target` of `SpeculativeGenerator`, in (0, 1) or None: the target
            fraction of accepted guesses. It changes their number, never the output.

    Raises:
        ValueError: an argument out of its range.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import QSGGenerator

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    generator = QSGGenerator(model, num_superposition_states=2, quality_threshold=None)
    ids = generator.generate([2, 40, 41, 40], max_length=12)
    assert ids == model.generate([2, 40, 41, 40], max_length=12, temperature=0)
    print(generator.acceptance_rate, generator.tokens_per_pass)
    ```
    """

    def __init__(
        self,
        model: Any,
        num_superposition_states: int = 4,
        collapse_strategy: str = "greedy",
        quality_threshold: float | None = 0.8,
    ):
        num_superposition_states = require_whole("num_superposition_states", num_superposition_states)
        if collapse_strategy not in _STRATEGIES:
            raise ValueError(
                f"`collapse_strategy` must be one of {', '.join(_STRATEGIES)}; received {collapse_strategy!r}"
            )
        if quality_threshold is not None and not 0 < quality_threshold < 1:
            raise ValueError(f"`quality_threshold` must be in (0, 1) or None; received {quality_threshold}")
        self.model = model
        self.num_superposition_states = num_superposition_states
        self.collapse_strategy = collapse_strategy
        self.quality_threshold = quality_threshold
        self._speculative = SpeculativeGenerator(
            model, None, num_superposition_states, acceptance_rate_target=quality_threshold
        )

    @property
    def acceptance_rate(self) -> float:
        """Fraction of guesses accepted in the last generation; NaN if there were none."""
        return self._speculative.acceptance_rate

    @property
    def tokens_per_pass(self) -> float:
        """New tokens per row and pass of the model in the last generation; NaN with `"beam"`."""
        return self._speculative.tokens_per_pass

    def generate(self, prompt: Any, **options: Any) -> Any:
        """Continues prompts.

        Args:
            prompt: As for `highnoon.inference.generate`.
            **options: Other arguments of `generate` (with `"beam"`, of `generate_beam`). The temperature
                of `"greedy"` is 0.

        Returns:
            As `generate`.

        Raises:
            ValueError: as `generate`; a temperature above 0 with `"greedy"`; logits processors with `"beam"`.
        """
        if self.collapse_strategy == "beam":
            if options.pop("logits_processors", None):
                raise ValueError(
                    "`logits_processors` do not act in a beam search; use collapse_strategy='greedy' or "
                    "'sample'"
                )
            return generate_beam(self.model, prompt, num_beams=self.num_superposition_states, **options)
        return self._speculative.generate(prompt, **self._with_temperature(options))

    def measure(self, prompt: Any, rounds: int = 3, **options: Any) -> dict[str, float]:
        """Times this and plain decoding of the same prompt, in turns, after one call that compiles.

        Args:
            prompt: As for `generate`.
            rounds: Timed calls of each, at least 1; the fastest counts.
            **options: As for `generate`. The default seed is 0, so that both generate the same.

        Returns:
            `speed_up` (seconds of plain decoding over seconds of this), `acceptance_rate`,
            `tokens_per_pass`.

        Raises:
            ValueError: the strategy is `"beam"`, which has no plain counterpart, or `rounds` is below 1.
        """
        if self.collapse_strategy == "beam" or rounds < 1:
            raise ValueError(
                "a speed-up is measured for the strategies greedy and sample in at least 1 round; "
                f"received {self.collapse_strategy!r} and {rounds}"
            )
        options = {"seed": 0} | self._with_temperature(options)
        seconds: dict[str, list[float]] = {"plain": [], "drafted": []}
        for _ in range(rounds + 1):
            began = time.perf_counter()
            generate(self.model, prompt, **options)
            middle = time.perf_counter()
            self._speculative.generate(prompt, **options)
            seconds["plain"].append(middle - began)
            seconds["drafted"].append(time.perf_counter() - middle)
        return {
            "speed_up": min(seconds["plain"][1:]) / min(seconds["drafted"][1:]),
            "acceptance_rate": self.acceptance_rate,
            "tokens_per_pass": self.tokens_per_pass,
        }

    def _with_temperature(self, options: dict[str, Any]) -> dict[str, Any]:
        if self.collapse_strategy != "greedy":
            return options
        if options.get("temperature"):
            raise ValueError(
                "`temperature` must be 0 with collapse_strategy='greedy', and 'sample' draws; "
                f"received {options['temperature']}"
            )
        return options | {"temperature": 0}
