"""Batch generation: many prompts, a batch at a time."""

from __future__ import annotations

from typing import Any

from highnoon.inference.generation import continue_prompts
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request
from highnoon.inference.require_number import require_whole


def generate_batch(
    model: Any,
    prompts: Any,
    max_length: int = DEFAULT_MAX_LENGTH,
    batch_size: int = 8,
    strip_prompt: bool = False,
    **kwargs: Any,
) -> Any:
    """Continues any number of prompts in batches of one size.

    Prompts of similar length share a batch, and results are in the order of the prompts. They equal those of
    `generate` with all prompts at once: a seed gives the same text for every `batch_size`.

    Args:
        model: A language model with a cache.
        prompts: As for `generate`.
        max_length: New tokens at most for each prompt.
        batch_size: Prompts computed together, at least 1.
        strip_prompt: Whether to return only the new tokens.
        **kwargs: Other arguments of `generate`.

    Raises:
        ValueError: `batch_size` is below 1, or as `generate`.
        TypeError: an unknown argument, or as `generate`.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import generate_batch

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    rows = generate_batch(model, [[2, 40], [2, 50, 60], [2, 70]], max_length=4, batch_size=2, seed=1)
    assert [len(row) for row in rows] == [6, 7, 6]
    ```
    """
    batch_size = require_whole("batch_size", batch_size)
    Request.require_known("generate_batch", kwargs)
    request = Request.read(model, prompts, max_length, **kwargs)
    rows = request.prompts.rows
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    new_ids: list[list[int]] = [[] for _ in rows]
    for start in range(0, len(rows), batch_size):
        indices = by_length[start : start + batch_size]
        for index, ids in zip(indices, continue_prompts(request, indices, batch_size), strict=True):
            new_ids[index] = ids
    return request.give_back(new_ids, strip_prompt)
