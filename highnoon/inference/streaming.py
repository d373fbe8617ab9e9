"""Streaming: text while it is generated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highnoon.inference.request import Request
from highnoon.inference.require_number import require_whole


class StreamingGenerator:
    """Yields a continuation in pieces while it is drawn.

    Args:
        model: A language model with a cache.
        chunk_size: Tokens drawn between two pieces, at least 1. More are faster, fewer arrive sooner.
        tokenizer: None takes the model's.

    Raises:
        ValueError: `chunk_size` is below 1.

    Example:

    ```python
    import highnoon as hn
    from highnoon.inference import StreamingGenerator
    from highnoon.tokenization import ByteTokenizer

    model = hn.create_model("highnoon-nano", num_reasoning_blocks=1)
    stream = StreamingGenerator(model, chunk_size=4, tokenizer=ByteTokenizer())
    for piece in stream.generate_stream("To be", max_length=8, seed=1):
        print(piece, end="", flush=True)
    ```
    """

    def __init__(self, model: Any, chunk_size: int = 8, tokenizer: Any = None):
        self.model = model
        self.chunk_size = require_whole("chunk_size", chunk_size)
        self.tokenizer = tokenizer

    def generate_stream(self, prompt: Any, **kwargs: Any) -> Iterator[str]:
        """Yields pieces of text that together equal what `generate` adds to one prompt with the same seed.

        A piece never ends within a character, nor with the beginning of a stop sequence that the
        next tokens may complete.

        Args:
            prompt: One text, or the ids of one prompt.
            **kwargs: The arguments of `generate` except `strip_prompt`: the prompt is never repeated.

        Raises:
            ValueError: more than one prompt, no tokenizer, or as `generate`. The call itself raises it,
                before the first piece is requested.
            TypeError: an unknown argument.
        """
        Request.require_known("generate_stream", kwargs)
        request = Request.read(self.model, prompt, **({"tokenizer": self.tokenizer} | kwargs))
        if len(request.prompts.rows) != 1:
            raise ValueError(f"`prompt` must be one prompt; received {len(request.prompts.rows)}")
        if request.tokenizer is None:
            raise ValueError("a stream of text needs a tokenizer; set `model.tokenizer` or pass `tokenizer=`")
        return self._pieces(request)

    def _pieces(self, request: Request) -> Iterator[str]:
        drawing, continuation = request.start([0], 1), request.continuation(0)
        num_sent, is_stopped = 0, False
        while not drawing.is_done and not is_stopped:
            drawing.advance(self.chunk_size)
            (ids,) = drawing.drawn()
            is_stopped = continuation.is_stopped(ids)
            is_last = drawing.is_done or is_stopped
            # Later tokens of the chunk may complete another stop sequence, which `generate` never sees.
            text = continuation.text(continuation.up_to_stop(ids)) if is_last else continuation.settled(ids)
            if len(text) > num_sent:
                yield text[num_sent:]
                num_sent = len(text)
