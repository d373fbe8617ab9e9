"""Generation: text or ids that continue prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highnoon.config.known_arguments import known_arguments
from highnoon.inference.generation_hints import GENERATION_HINTS
from highnoon.inference.logits_processors.logits_processor import LogitsProcessor
from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request

_STEPS_BETWEEN_STOP_CHECKS = 16


@known_arguments(hints=GENERATION_HINTS)
def generate(
    model: Any,
    prompts: Any,
    max_length: int = DEFAULT_MAX_LENGTH,
    temperature: float = 1.0,
    top_k: int | None = 50,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    stop_sequences: str | int | Sequence[str | int] | None = None,
    tokenizer: Any = None,
    seed: int | None = None,
    max_new_tokens: int | None = None,
    strip_prompt: bool = False,
    logits_processors: Sequence[LogitsProcessor] | None = None,
) -> Any:
    """Continues prompts, token by token, until an end token, a stop sequence or a limit.

    ```
    p(next) = softmax(keep(logits / temperature)),   keep: the top_k, then the nucleus of top_p
    ```

    The prompt is read into a cache once; each new token then costs one token's work. The
    functions are compiled for the batch size and for few lengths, so the first call with new
    shapes takes longer.

    Args:
        model: A language model with a cache (`initial_cache`, `decode`, `vocab_size`,
            `max_seq_length`), or any causal `keras.Model` from token ids, or from `token_ids` and
            `padding_mask`, to logits, such as KerasHub's. Without a cache each new token costs a pass over
            its entire sequence.
        prompts: A text, a list of texts, an integer array (t,) or (b, t), a list of ids, or
            lists of ids of unequal length. A text is framed by the begin token, and an empty
            prompt is that token.
        max_length: New tokens at most; the context of a model with attention is a limit too. A model of
            recurrent mixers alone has no such limit, and needs no more memory.
        temperature: Divides the logits; 0 always takes the most likely token.
        top_k: Draws from this many most likely tokens; 0 or None from all.
        top_p: Draws from the fewest most likely tokens with this mass, in (0, 1].
        repetition_penalty: Above 1 makes tokens of the prompt and of what was generated less
            likely.
        stop_sequences: Texts and token ids that end a row. A text, matched on what the new
            tokens read as, is cut off. The tokenizer's end token always ends a row.
        tokenizer: None takes the model's. With one, only ids that it can turn into text are drawn.
        seed: Fixes the random numbers. Those of a row depend on the seed and the row's index alone, not on
            the other rows. None takes a seed from NumPy's global generator.
        max_new_tokens: Another name of `max_length`.
        strip_prompt: Whether to return only the new tokens.
        logits_processors: Changes of the logits after the repetition penalty and before the temperature, in
            this order, see `LogitsProcessor`.

    Returns:
        The prompt and what continues it, in the form of `prompts`. Ids keep the end token or
        stop id, and all tokens of a stop text; the rows of an array are filled with the pad id.

    Raises:
        ValueError: an argument out of its range, a model that is not causal, a prompt that fills the model's
            context, a text without a tokenizer, both names of the limit, or a processor that does not fit the
            vocabulary.
        TypeError: prompts in another form, something else in `logits_processors`, or a model that does not
            map token ids to logits.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import generate
    from highnoon.tokenization import ByteTokenizer

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    text = generate(model, "To be", max_length=8, tokenizer=ByteTokenizer(), seed=1)
    assert text.startswith("To be")
    ```
    """
    request = Request.read(
        model,
        prompts,
        max_length,
        temperature,
        top_k,
        top_p,
        repetition_penalty,
        stop_sequences,
        tokenizer,
        seed,
        max_new_tokens,
        logits_processors,
    )
    rows = range(len(request.prompts.rows))
    return request.give_back(continue_prompts(request, rows, len(rows)), strip_prompt)


def continue_prompts(request: Request, rows: Sequence[int], batch_size: int) -> list[list[int]]:
    """Returns the new ids of some of a request's prompts, up to the stop sequences.

    Args:
        request: What is asked for.
        rows: The indices of the prompts.
        batch_size: Rows to compute, at least as many as `rows`.
    """
    drawing = request.start(rows, batch_size)
    if not request.stop_texts:
        drawing.advance()
        return drawing.drawn()[: len(rows)]
    continuations = [request.continuation(row) for row in rows]
    while not drawing.is_done:
        drawing.advance(_STEPS_BETWEEN_STOP_CHECKS)
        drawn = drawing.drawn()[: len(rows)]
        stopped = [text.is_stopped(ids) for text, ids in zip(continuations, drawn, strict=True)]
        drawing.end(stopped + [True] * (batch_size - len(rows)))
    drawn = drawing.drawn()[: len(rows)]
    return [text.up_to_stop(ids) for text, ids in zip(continuations, drawn, strict=True)]
