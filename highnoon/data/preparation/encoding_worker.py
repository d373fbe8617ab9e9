"""A worker process of `EncodingPool`: encodes batches until its input ends."""

from __future__ import annotations

import os
import pickle
import signal
import sys

from highnoon.data.tokens.encoding import EncodedBatch, encode_batch


def main() -> None:
    """Reads a tokenizer, then batches, from standard input, and writes (result, error) to standard output."""
    # Ctrl-C reaches all processes of a terminal; the main process handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as target:
        # Other output would mix with the results.
        os.dup2(2, 1)
        tokenizer = None
        reply: tuple[EncodedBatch | None, Exception | None]
        while True:
            try:
                if tokenizer is None:
                    tokenizer = pickle.load(source)
                texts, supervised, marks, hashes = pickle.load(source)
                reply = (encode_batch(texts, supervised, tokenizer, marks, hashes), None)
            except EOFError:
                return
            except Exception as error:
                reply = (None, error)
            pickle.dump(reply, target, protocol=pickle.HIGHEST_PROTOCOL)
            target.flush()
            if tokenizer is None:
                return
