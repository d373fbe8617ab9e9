"""Converts errors of the library `tokenizers` to errors of this package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from highnoon.files.shown import shown
from highnoon.tokenization.tokenizer import TokenizerError


@contextlib.contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Converts an error of `tokenizers` within the context to a TokenizerError of one line, after `what`.

    The library raises plain Exception. When its Rust code panics, on a damaged table or a regular expression
    that needs too many retries, it raises a `PanicException`, which derives from BaseException directly.

    Raises:
        TokenizerError: the library failed.
    """
    try:
        yield
    except Exception as error:
        raise TokenizerError(f"{what}: {shown(str(error))[1:-1]}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"{what}: {shown(str(error))[1:-1]}") from None
