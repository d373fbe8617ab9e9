"""What a run says of the tokenizer that it made."""

from __future__ import annotations

from highnoon.tokenization.byte_pair.byte_pair_tokenizer import BytePairTokenizer


def training_note(tokenizer: BytePairTokenizer, texts: str, owner: str) -> str:
    """Returns the line on a tokenizer that was made for a model without one.

    Args:
        tokenizer: What `train_from_texts` returned; without merges it is one of bytes, and nothing was
            trained.
        texts: The texts, such as "these texts".
        owner: What it stays with.

    Example:

    ```python
    from highnoon.tokenization import BytePairTokenizer
    from highnoon.tokenization.byte_pair.training_note import training_note

    note = training_note(BytePairTokenizer(263).train_from_texts(["low lower"]), "these texts", "model")
    assert note.startswith("note: text is read as bytes, with 263 ids")
    ```
    """
    count = f"{tokenizer.vocab_size:,} ids"
    if tokenizer.num_merges:
        return f"note: trained a tokenizer of {count} on {texts}; it stays with the {owner}"
    return f"note: text is read as bytes, with {count}; no tokenizer was trained on {texts}"
