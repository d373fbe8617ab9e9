"""Text or ids that continue prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from highnoon.inference.request import DEFAULT_MAX_LENGTH, Request

_STEPS_BETWEEN_STOP_CHECKS = 16


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
            `max_seq_length`).
        prompts: A text, a list of texts, an integer array (t,) or (b, t), a list of ids, or
            lists of ids of unequal length. A text is framed by the begin token, and an empty
            prompt is that token.
        max_length: New tokens at most; the context of a model with attention is a limit too. A model of
            recurrent mixers alone goes on past it, in the same memory.
        temperature: Divides the logits; 0 always takes the most likely token.
        top_k: Draws among this many most likely tokens; 0 or None among all.
        top_p: Draws among the fewest most likely tokens with this mass, in (0, 1].
        repetition_penalty: Above 1 makes tokens of the prompt and of what was generated less
            likely.
        stop_sequences: Texts and token ids that end a row. A text, matched on what the new
            tokens read as, is cut off. The tokenizer's end token always ends a row.
        tokenizer: None takes the model's. With one, only ids that it can turn into text are drawn.
        seed: Fixes what is drawn. Each row draws by the seed and its place, whatever the other
            rows hold. None takes one from NumPy's global generator.
        max_new_tokens: Another name of `max_length`.
        strip_prompt: Whether to return only what is new.

    Returns:
        The prompt and what continues it, in the form of `prompts`. Ids keep the end token or
        stop id, and all tokens of a stop text; the rows of an array are filled with the pad id.

    Raises:
        ValueError: an argument out of its range, a prompt that fills the model's context, a text
            without a tokenizer, or both names of the limit.
        TypeError: prompts in another form.

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
    )
    places = range(len(request.prompts.rows))
    return request.give_back(continue_prompts(request, places, len(places)), strip_prompt)


def continue_prompts(request: Request, places: Sequence[int], batch_size: int) -> list[list[int]]:
    """Returns the new ids of some of a request's prompts, up to the stop sequences."""
    drawing = request.start(places, batch_size)
    if not request.stop_texts:
        drawing.advance()
        return drawing.drawn()[: len(places)]
    continuations = [request.continuation(place) for place in places]
    while not drawing.is_done:
        drawing.advance(_STEPS_BETWEEN_STOP_CHECKS)
        drawn = drawing.drawn()[: len(places)]
        stopped = [text.is_stopped(ids) for text, ids in zip(continuations, drawn, strict=True)]
        drawing.end(stopped + [True] * (batch_size - len(places)))
    drawn = drawing.drawn()[: len(places)]
    return [text.up_to_stop(ids) for text, ids in zip(continuations, drawn, strict=True)]
