"""Answers of a model to the prompts of a task, by greedy generation in batches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from highnoon.config import ConfigError
from highnoon.inference.decoding.cache_layout import context_limit
from highnoon.inference.decoding.uncached_model import decoding_model
from highnoon.inference.generation import continue_prompts
from highnoon.inference.request import Request
from highnoon.tokenization import ChatTemplate, Tokenizer
from highnoon.tokenization.keras_hub_tokenizer import as_tokenizer
from highnoon.tokenization.marked_text import encode_prompt

if TYPE_CHECKING:
    from highnoon.data.tasks.task_example import TaskExample


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model answered.

    Args:
        examples: Those whose prompt and reference answer fit into the model's window.
        texts: The answer to each of them.
        num_too_long: How many examples did not fit. They were not shown to the model.
        num_unfinished: How many answers reached the limit of new tokens or of the window.
    """

    examples: list[TaskExample]
    texts: list[str]
    num_too_long: int
    num_unfinished: int


def generate_answers(
    model: Any,
    examples: Sequence[TaskExample],
    max_new_tokens: int | None = None,
    batch_size: int = 8,
    tokenizer: Any = None,
) -> Answers:
    """Answers prompts with the most likely tokens, from the model's cache.

    A prompt is written in the chat template of the tokenizer, as for training, or in the default template
    where the tokenizer has none. A prompt that leaves no room for its reference answer in the
    model's window is not shortened: it is counted, and no answer is generated.

    Args:
        model: A language model.
        examples: Of a task.
        max_new_tokens: The limit of an answer; None takes a quarter more than the longest reference answer.
        batch_size: Prompts in a batch; those of similar length share one.
        tokenizer: None uses the model's.

    Raises:
        ConfigError: There is no tokenizer, or an unknown one.
    """
    model = decoding_model(model)
    tokenizer = as_tokenizer(getattr(model, "tokenizer", None) if tokenizer is None else tokenizer)
    if not isinstance(tokenizer, Tokenizer):
        raise ConfigError(
            f"answers need a tokenizer of HighNoon or KerasHub; received {type(tokenizer).__name__}; set "
            "`model.tokenizer`"
        )
    if tokenizer.chat_template is None:  # its turn ends end the answers
        tokenizer = tokenizer.with_chat_template(ChatTemplate())
    template = tokenizer.chat_template
    window = context_limit(model)
    fitting, rows, longest = [], [], 1
    for example in examples:
        ids = prompt_ids(example, template, tokenizer)
        num_answer_ids = len(tokenizer.encode(example.answer, add_special_tokens=False))
        if len(ids) + num_answer_ids < window:
            fitting.append(example)
            rows.append(ids)
            longest = max(longest, num_answer_ids)
    num_too_long = len(examples) - len(fitting)
    if not rows:
        return Answers([], [], num_too_long, 0)
    limit = longest + math.ceil(longest / 4) if max_new_tokens is None else max_new_tokens
    request = Request.read(model, rows, limit, temperature=0.0, top_k=None, tokenizer=tokenizer, seed=0)
    texts, num_unfinished = [""] * len(rows), 0
    by_length = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    for start in range(0, len(rows), batch_size):
        indices = by_length[start : start + batch_size]
        for index, ids in zip(indices, continue_prompts(request, indices, batch_size), strict=True):
            continuation = request.continuation(index)
            texts[index] = continuation.text(ids)
            has_ended = bool(ids) and (ids[-1] in request.stop_ids or continuation.is_stopped(ids))
            num_unfinished += not has_ended
    return Answers(fitting, texts, num_too_long, num_unfinished)


def prompt_ids(example: TaskExample, template: ChatTemplate, tokenizer: Any) -> list[int]:
    """Returns the tokens before the answer, as they are in training."""
    if example.messages:
        return encode_prompt(template.prompt(example.messages), tokenizer)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [*begin, *tokenizer.encode(example.prompt, add_special_tokens=False)]
