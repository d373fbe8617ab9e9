"""Chooses the tokenizer of a run, or trains one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras

from highnoon.config import ConfigError
from highnoon.data import PreparedTokens, train_tokenizer
from highnoon.data.sources.source_template import source_template
from highnoon.tokenization import Tokenizer
from highnoon.tokenization.byte_pair.training_note import training_note
from highnoon.tokenization.keras_hub_tokenizer import as_tokenizer
from highnoon.training.plans.stage_sources import StageSources


def choose_tokenizer(
    model: keras.Model, given: Any | None, sources: Sequence[StageSources], validation_split: float
) -> tuple[Any, str | None]:
    """Returns the run's tokenizer and, where one had to be trained or its marks are new, a line that says so.

    That is the one given, else the model's or its preprocessor's, else that of the first dataset that was
    prepared with one.

    Raises:
        ConfigError: the tokenizer has more ids than the model, or there is none and the model does not
            say its `vocab_size`.
        TokenizerError: the tokenizer is one of KerasHub that cannot be read.
    """
    prepared = [s.tokenizer for stage in sources for s in stage.sources if isinstance(s, PreparedTokens)]
    own = [getattr(part, "tokenizer", None) for part in (model, getattr(model, "preprocessor", None))]
    choices = [given, *own, *prepared]
    tokenizer, note = as_tokenizer(next((choice for choice in choices if choice is not None), None)), None
    vocab_size = getattr(model, "vocab_size", None) or getattr(
        getattr(model, "backbone", None), "vocabulary_size", None
    )
    if tokenizer is None:
        if vocab_size is None:
            raise ConfigError(
                "the model has no tokenizer and no `vocab_size` to train one for; give `tokenizer=`"
            )
        streamed = [name for stage in sources for name in stage.streamed]
        if streamed:
            raise ConfigError(
                f"{streamed[0]} is read as a stream, which is no text to train a tokenizer on first; give "
                "`tokenizer=`"
            )
        distinct = {source.fingerprint(): source for stage in sources for source in stage.sources}
        tokenizer = train_tokenizer(list(distinct.values()), vocab_size, validation_split=validation_split)
        note = training_note(tokenizer, "the stages' own text", "run")
    before, tokenizer = tokenizer, _with_template_of(tokenizer, sources)
    if note is None and _has_new_marks(model, before, tokenizer):
        note = (
            "note: the base's tokenizer has no chat template, so the marks of conversations are new text to "
            "the model, and a loss that starts high is expected. LoRA factors of a few layers learn them "
            "slowly: where it remains high, train all weights (without --lora)"
        )
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids and the model's vocab_size is {vocab_size:,}; "
            "create the model with at least as many, or train a smaller tokenizer"
        )
    return tokenizer, note


def _has_new_marks(model: keras.Model, before: Any, now: Any) -> bool:
    """Whether LoRA factors are trained on a chat template that the model's tokenizer did not have."""
    trains_factors = getattr(getattr(model, "backbone", None), "lora", None) is not None
    templates = [getattr(tokenizer, "chat_template", None) for tokenizer in (before, now)]
    return trains_factors and templates[0] is None and templates[1] is not None


def _with_template_of(tokenizer: Any, sources: Sequence[StageSources]) -> Any:
    """The tokenizer with the chat template of the last conversations that the run trains on."""
    if not isinstance(tokenizer, Tokenizer):
        return tokenizer
    found = [source_template(source) for stage in sources for source in stage.sources]
    templates = [template for template in found if template is not None]
    if not templates:
        return tokenizer
    others = [
        template
        for template in (*templates, tokenizer.chat_template)
        if template not in (None, templates[-1])
    ]
    if others:
        warnings.warn(
            f"conversations are written in several chat templates; the model will chat in that of the last "
            f"dataset, {templates[-1]!r}, and not in {others[-1]!r}; give all datasets one `chat_template`, "
            'such as that of the model\'s tokenizer: `{"name": ..., "chat_template": "model"}`',
            stacklevel=2,
        )
    return tokenizer.with_chat_template(templates[-1])
