"""Completions that a policy samples, as rows of the objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from highnoon.config import ConfigError
from highnoon.inference import generate_batch, log_probabilities


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Sampled completions, and where they stand in rows.

    Args:
        columns: `token_ids`, `labels`, `segment_ids`, `positions` (rows, t) int32 and `loss_weights` (rows,
            t) float32, which is 1 where the label was sampled: up to and including the end token.
        groups: (rows,), the number of the prompt.
        texts: Each prompt with its completion.
        has_end: (rows,), whether the completion ended before its limit.
        rows: The ids of each prompt and its completion.
        num_prompt_ids: (rows,).
    """

    columns: dict[str, np.ndarray]
    groups: np.ndarray
    texts: list[str]
    has_end: np.ndarray
    rows: list[list[int]]
    num_prompt_ids: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Sampled tokens of each row."""
        return self.columns["loss_weights"].sum(axis=1)

    def decoder_log_probs(self, model: Any) -> np.ndarray:
        """Returns the log-probabilities (rows, t) of the sampled tokens by cached decoding, 0 elsewhere.

        Args:
            model: The policy that sampled, at temperature 1.
        """
        found = np.zeros(self.columns["loss_weights"].shape, np.float32)
        for row, values in enumerate(log_probabilities(model, self.rows)):
            first = int(self.num_prompt_ids[row]) - 1
            found[row, first : len(values)] = values[first:]
        return found


def sample_rollout(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    group_size: int,
    max_new_tokens: int,
    row_length: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
) -> Rollout:
    """Samples completions with the compiled decoder, from all tokens of the vocabulary.

    The result is a function of the weights, the prompts and the seed; `batch_size` does not change it.

    Args:
        model: A language model.
        tokenizer: Of the model.
        prompts: Texts; each begins with the begin token.
        group_size: Completions of each prompt.
        max_new_tokens: Longest completion.
        row_length: Length t of the rows, at least that of the longest prompt and completion, less one.
        temperature: Divides the logits.
        seed: Of the draws.
        batch_size: Completions that are sampled together.

    Raises:
        ConfigError: a prompt and its completion do not fit into a row.
    """
    prompt_ids = [encode_prompt(tokenizer, prompt) for prompt in prompts for _ in range(group_size)]
    longest = max(map(len, prompt_ids)) + max_new_tokens - 1
    if longest > row_length:
        raise ConfigError(
            f"a prompt and its completion must fit into row_length={row_length}; received {longest} tokens; "
            "shorten the prompts or lower `max_new_tokens`"
        )
    new_ids = generate_batch(
        model,
        prompt_ids,
        max_length=max_new_tokens,
        batch_size=batch_size,
        strip_prompt=True,
        temperature=temperature,
        top_k=None,
        tokenizer=tokenizer,
        seed=seed,
    )
    rows = [[*begin, *new] for begin, new in zip(prompt_ids, new_ids, strict=True)]
    num_prompt_ids = np.array([len(begin) for begin in prompt_ids])
    texts = [tokenizer.decode(row) for row in rows]
    has_end = np.array([len(new) > 0 and new[-1] == tokenizer.eos_token_id for new in new_ids])
    columns = _columns(rows, num_prompt_ids, row_length)
    return Rollout(
        columns, np.repeat(np.arange(len(prompts)), group_size), texts, has_end, rows, num_prompt_ids
    )


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    """Returns the ids of a prompt: the begin token, if there is one, and those of the text."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [*begin, *tokenizer.encode(text, add_special_tokens=False)]


def _columns(rows: list[list[int]], num_prompt_ids: np.ndarray, row_length: int) -> dict[str, np.ndarray]:
    shape = len(rows), row_length
    columns = {
        name: np.zeros(shape, np.int32) for name in ("token_ids", "labels", "segment_ids", "positions")
    }
    weights = np.zeros(shape, np.float32)
    for index, (ids, first) in enumerate(zip(rows, num_prompt_ids, strict=True)):
        length = len(ids) - 1
        columns["token_ids"][index, :length] = ids[:-1]
        columns["labels"][index, :length] = ids[1:]
        columns["segment_ids"][index, :length] = 1
        columns["positions"][index, :length] = np.arange(length)
        weights[index, first - 1 : length] = 1.0
    return {**columns, "loss_weights": weights}
