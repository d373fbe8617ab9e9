"""From the datasets that stages name to tokenised rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, TrainingConfig
from highnoon.data import PackedRows, open_source, tokenize, train_tokenizer
from highnoon.training.stage_data import StageData
from highnoon.training.stages import CurriculumStage

Sources = list[list[Any]]


def open_stage_sources(stages: Iterable[CurriculumStage], data_dir: str | os.PathLike[str] | None) -> Sources:
    """Returns the sources of each stage.

    Raises:
        ConfigError: a dataset cannot be found; the message names the stage.
    """
    return [
        [open_source(name, data_dir=data_dir) for name in stage.dataset_names_and_shares()[0]]
        for stage in stages
    ]


def choose_tokenizer(model: keras.Model, given: Any | None, sources: Sources) -> tuple[Any, str | None]:
    """Returns the run's tokenizer and, where one had to be trained, a line that says so.

    Raises:
        ConfigError: the tokenizer has more ids than the model, or there is none and the model does not
            say its `vocab_size`.
    """
    tokenizer, note = given or getattr(model, "tokenizer", None), None
    vocab_size = getattr(model, "vocab_size", None) or getattr(
        getattr(model, "backbone", None), "vocabulary_size", None
    )
    if tokenizer is None:
        if vocab_size is None:
            raise ConfigError(
                "the model has no tokenizer and no `vocab_size` to train one for; give `tokenizer=`"
            )
        distinct = {source.fingerprint(): source for stage in sources for source in stage}
        tokenizer = train_tokenizer(list(distinct.values()), vocab_size)
        note = (
            f"note: trained a tokenizer of {tokenizer.vocab_size:,} ids on the stages' own text; "
            "it stays with the run"
        )
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids and the model's vocab_size is {vocab_size:,}; "
            "create the model with at least as many, or train a smaller tokenizer"
        )
    return tokenizer, note


class StagePreparation:
    """Tokenises sources, each once, and packs them into the rows of stages.

    Args:
        model: Decides whether rows may hold several documents: only a model that can tell them apart
            (one with `loss_terms`) gets such rows.
        tokenizer: The run's tokenizer.
        cache_dir: Where tokenised data is kept; None takes the user's cache.
        num_replicas: Devices that share a step.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Any,
        cache_dir: str | os.PathLike[str] | None,
        num_replicas: int = 1,
    ) -> None:
        self.model, self.tokenizer, self.cache_dir = model, tokenizer, cache_dir
        self.num_replicas = num_replicas
        self._stores: dict[str, Any] = {}

    def prepare(
        self, stage: CurriculumStage, sources: Sequence[Any], config: TrainingConfig, seed: int
    ) -> StageData:
        """Returns the data of one stage.

        Args:
            stage: The stage.
            sources: Its opened datasets.
            config: The run's configuration with the stage's overrides.
            seed: Seed of the stage's order.
        """
        stores = [self._store(source, config.validation_split) for source in sources]
        shares = stage.dataset_names_and_shares()[1]

        def rows(split: str, weights: list[float] | None) -> PackedRows:
            return PackedRows(
                stores,
                row_length=config.max_seq_length,
                seed=seed,
                split=split,
                weights=weights,
                packing=hasattr(self.model, "loss_terms"),
            )

        return StageData(
            stage=stage,
            config=config,
            train_rows=rows("train", shares),
            validation_rows=rows("validation", None) if any(s.is_validation.any() for s in stores) else None,
            data_key="+".join(store.fingerprint[:16] for store in stores),
            num_replicas=self.num_replicas,
        )

    def _store(self, source: Any, validation_split: float) -> Any:
        key = source.fingerprint()
        if key not in self._stores:
            self._stores[key] = tokenize(
                source, self.tokenizer, cache_dir=self.cache_dir, validation_split=validation_split
            )
        return self._stores[key]
