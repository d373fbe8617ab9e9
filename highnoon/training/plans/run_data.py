"""From the datasets that stages name to tokenized rows."""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras

from highnoon.config import ConfigError, TrainingConfig
from highnoon.data import (
    DataError,
    DerivedColumns,
    DocumentSource,
    PackedRows,
    PreparedTokens,
    SourceNotFoundError,
    open_source,
    tokenize,
    train_tokenizer,
)
from highnoon.data.sequences.mixture import balanced_shares
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.data.sources.distinct_names import require_distinct_names
from highnoon.data.sources.open_source import require_source_options
from highnoon.data.sources.source_template import source_template
from highnoon.tokenization import Tokenizer
from highnoon.training.objective import objective_from_config
from highnoon.training.plans.stage_data import STREAM_KEY, StageData
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.plans.step_size import StepSize

# What is held out of a stream is read again at each evaluation, with everything in between.
MAX_STREAMED_VALIDATION_ROWS = 256


@dataclasses.dataclass
class StageSources:
    """The opened datasets of a stage.

    Args:
        sources: In the order in which they were given; a folder of domains that is to be balanced is one
            source a domain.
        weights: Their fractions of the rows, where they were given.
        streamed: Names of those that are read as streams, see `StreamedRows`.
    """

    sources: list[DocumentSource]
    weights: list[float] | None
    streamed: list[str]


def open_stage_sources(
    stages: Iterable[CurriculumStage], data_dir: str | os.PathLike[str] | None
) -> list[StageSources]:
    """Returns the sources of each stage.

    Raises:
        DataError: a dataset cannot be found, or all of a stage's optional ones are missing.
    """
    return [_open_stage(stage, data_dir) for stage in stages]


def _open_stage(stage: CurriculumStage, data_dir: str | os.PathLike[str] | None) -> StageSources:
    names, weights = stage.dataset_names_and_weights()
    opened: list[DocumentSource] = []
    streamed: list[str] = []
    present: list[float] = []
    for index, name in enumerate(names):
        try:
            source, is_streamed = _open_dataset(name, data_dir)
        except SourceNotFoundError as error:
            if name not in stage.optional or len(names) == 1:
                raise
            warnings.warn(
                f"stage `{stage.name}` goes without `{name}`, and the others take its part: {error}",
                stacklevel=2,
            )
            continue
        parts = getattr(source, "parts", [source]) if stage.balance is not None else [source]
        opened += parts
        streamed += [part.name for part in parts] if is_streamed else []
        present += [weights[index]] if weights is not None else []
    if not opened:
        raise DataError(f"all datasets of stage `{stage.name}` are optional, and none of them is there")
    require_distinct_names(opened)
    if weights is None or len(present) == len(weights):
        return StageSources(opened, weights, streamed)
    return StageSources(opened, [weight / sum(present) for weight in present], streamed)


def _open_dataset(entry: Any, data_dir: str | os.PathLike[str] | None) -> tuple[DocumentSource, bool]:
    """Returns the source of a stage's dataset, and whether the stage reads it as a stream.

    Args:
        entry: A name, an object, or a mapping of `name`, options of `open_source`, and `stream`: true reads
            the source forward while the run trains, see `StreamedRows`.
        data_dir: Where named datasets are.
    """
    if not isinstance(entry, Mapping):
        source = open_source(entry, data_dir=data_dir)
        return source, source.is_streamed
    options = require_source_options(entry)
    is_streamed = options.pop("stream", False)
    source = open_source(**options, data_dir=data_dir)
    return source, source.is_streamed or is_streamed


def choose_tokenizer(
    model: keras.Model, given: Any | None, sources: Sequence[StageSources], validation_split: float
) -> tuple[Any, str | None]:
    """Returns the run's tokenizer and, where one had to be trained, a line that says so.

    That is the one given, else the model's, else that of the first dataset that was prepared with one.

    Raises:
        ConfigError: the tokenizer has more ids than the model, or there is none and the model does not
            say its `vocab_size`.
    """
    prepared = [s.tokenizer for stage in sources for s in stage.sources if isinstance(s, PreparedTokens)]
    choices = [given, getattr(model, "tokenizer", None), *prepared]
    tokenizer, note = next((choice for choice in choices if choice is not None), None), None
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
        note = (
            f"note: trained a tokenizer of {tokenizer.vocab_size:,} ids on the stages' own text; "
            "it stays with the run"
        )
    tokenizer = _with_template_of(tokenizer, sources)
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids and the model's vocab_size is {vocab_size:,}; "
            "create the model with at least as many, or train a smaller tokenizer"
        )
    return tokenizer, note


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
            "such as that of the model's tokenizer (`model.tokenizer.chat_template`)",
            stacklevel=2,
        )
    return tokenizer.with_chat_template(templates[-1])


@dataclasses.dataclass(frozen=True)
class StageRows:
    """The rows of a stage.

    Args:
        train: Rows of the training split: `PackedRows`, `StreamedRows`, or an object with their methods.
        validation: Those of the validation split, or None if it is empty.
        data_key: Hash of the data that they are made from; a run is resumed on data of the same key alone.
    """

    train: Any
    validation: Any | None
    data_key: str


class StagePreparation:
    """Tokenizes sources, each once, and packs them into the rows of stages.

    Args:
        packing: Whether rows may hold several documents, for a model that can tell them apart.
        tokenizer: The run's tokenizer.
        cache_dir: Where tokenized data is stored; None takes the user's cache.
        num_replicas: Devices that share a step.
    """

    def __init__(
        self,
        packing: bool,
        tokenizer: Any,
        cache_dir: str | os.PathLike[str] | None,
        num_replicas: int = 1,
    ) -> None:
        self.packing, self.tokenizer, self.cache_dir = packing, tokenizer, cache_dir
        self.num_replicas = num_replicas
        self._stores: dict[tuple[str, str], Any] = {}

    def prepare(
        self, stage: CurriculumStage, opened: StageSources, config: TrainingConfig, seed: int
    ) -> StageData:
        """Returns the data of one stage: the rows that its objective makes of its sources.

        Args:
            stage: The stage.
            opened: Its datasets.
            config: The run's configuration with the stage's overrides.
            seed: Seed of the stage's order.

        Raises:
            ConfigError: the stage's data and its options do not fit each other.
        """
        StepSize(config, self.num_replicas).require_divisible()
        objective = objective_from_config(stage.objective)
        rows = objective.sequences(opened, RowPreparation(self, stage, config, seed))
        return StageData(stage, config, rows.train, rows.validation, rows.data_key, self.num_replicas)

    def store(self, source: Any, validation_split: float) -> Any:
        """Returns the `TokenStore` of a source, tokenized once for all stages."""
        key = source.fingerprint(), source.name
        if key not in self._stores:
            self._stores[key] = tokenize(
                source, self.tokenizer, cache_dir=self.cache_dir, validation_split=validation_split
            )
        return self._stores[key]


class RowPreparation:
    """Makes the rows of one stage; `Objective.sequences` receives it.

    Args:
        preparation: Tokenizes for all stages.
        stage: The stage.
        config: The run's configuration with the stage's overrides: `max_seq_length`, `validation_split`.
        seed: Seed of the stage's order.
    """

    def __init__(
        self, preparation: StagePreparation, stage: CurriculumStage, config: TrainingConfig, seed: int
    ) -> None:
        self.stage, self.config, self.seed = stage, config, seed
        self.tokenizer, self.packing = preparation.tokenizer, preparation.packing
        self.cache_dir, self.num_replicas = preparation.cache_dir, preparation.num_replicas
        self._preparation = preparation

    def stores(self, opened: StageSources) -> list[Any]:
        """Returns the `TokenStore` of each source of the stage."""
        return [self._preparation.store(source, self.config.validation_split) for source in opened.sources]

    def weights(self, opened: StageSources, stores: Sequence[Any]) -> list[float] | None:
        """Returns the weight of each source in the mix, as the stage gives it; None for their sizes."""
        if self.stage.temperature is None:
            return opened.weights
        tokens = [int(store.lengths[~store.is_validation].sum()) for store in stores]
        return balanced_shares(tokens, self.stage.temperature, self.stage.max_repeats)

    def packed(self, opened: StageSources) -> StageRows:
        """Returns rows of packed documents: read from token stores, or forward if a source is a stream.

        Args:
            opened: The stage's sources.

        Raises:
            ConfigError: a stream is mixed, sorted or of unknown length, or the model cannot tell packed
                documents apart.
        """
        if opened.streamed:
            return self._streamed(opened.sources)
        return self.packed_stores(opened, self.stores(opened))

    def packed_stores(
        self, opened: StageSources, stores: Sequence[Any], derived: Sequence[DerivedColumns] | None = None
    ) -> StageRows:
        """Returns rows of packed documents of token stores.

        Args:
            opened: The stage's sources.
            stores: The store of each.
            derived: For each store the derived columns that batches get; None for none.
        """

        def rows(split: str, weights: list[float] | None) -> PackedRows:
            return PackedRows(
                stores,
                row_length=self.config.max_seq_length,
                seed=self.seed,
                split=split,
                weights=weights,
                packing=self.packing,
                derived=derived,
            )

        return self.split_rows(opened, stores, rows)

    def split_rows(
        self,
        opened: StageSources,
        stores: Sequence[Any],
        rows: Callable[[str, list[float] | None], Any],
    ) -> StageRows:
        """Returns the rows of both splits of token stores.

        Args:
            opened: The stage's sources.
            stores: The store of each.
            rows: Returns the rows of a split, `"train"` or `"validation"`, by the weights of the stores.
        """
        return StageRows(
            train=rows("train", self.weights(opened, stores)),
            validation=rows("validation", None) if any(s.is_validation.any() for s in stores) else None,
            data_key="+".join(store.fingerprint[:16] for store in stores),
        )

    def _streamed(self, sources: Sequence[DocumentSource]) -> StageRows:
        stage, config, name = self.stage, self.config, f"stage `{self.stage.name}`"
        source, size = sources[0], StepSize(self.config, self.num_replicas)
        steps = size.steps_of(stage)
        if len(sources) > 1:
            raise ConfigError(
                f"{name} mixes {len(sources)} datasets, one of them a stream, which is read "
                "alone; prepare it with `highnoon data prepare`, or give it its own stage"
            )
        if stage.scheduler is not None or steps is None:
            raise ConfigError(
                f"{name} reads {source.name} as a stream, which cannot be sorted or counted "
                "beforehand: give its length in `steps=` or `tokens=`, and no scheduler"
            )
        if not self.packing:
            raise ConfigError(
                f"{name} reads a stream, whose rows hold several documents, and the model "
                "cannot tell them apart; prepare the data with `highnoon data prepare`"
            )

        def rows(split: str, num_rows: int) -> StreamedRows:
            # Each side counts the bad records of its own reading.
            return StreamedRows(
                copy.copy(source),
                self.tokenizer,
                config.max_seq_length,
                self.seed,
                split,
                num_rows,
                config.validation_split,
            )

        return StageRows(
            train=rows("train", steps * size.rows_per_step),
            validation=rows("validation", MAX_STREAMED_VALIDATION_ROWS) if config.validation_split else None,
            data_key=STREAM_KEY + source.fingerprint(),
        )
