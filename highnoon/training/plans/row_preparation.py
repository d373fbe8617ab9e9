"""Makes the rows of a stage from its datasets."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.config import ConfigError, TrainingConfig
from highnoon.data import (
    Derivation,
    DerivedColumns,
    DocumentSource,
    PackedRows,
    TokenStore,
    derive_columns,
)
from highnoon.data.preparation.derive_columns import columns_folder
from highnoon.data.sequences.mixture import balanced_shares
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.data.tokens.split_by_length import split_by_length
from highnoon.data.tokens.token_columns import TokenColumns
from highnoon.training.objective import objective_from_config
from highnoon.training.plans.stage_data import STREAM_KEY
from highnoon.training.plans.stage_sources import StageSources
from highnoon.training.plans.stages import CurriculumStage
from highnoon.training.plans.step_size import StepSize
from highnoon.training.task_losses import TASK_IDS, document_tasks

if TYPE_CHECKING:
    from highnoon.training.plans.stage_preparation import StagePreparation

# What is held out of a stream is read again at each evaluation, with everything in between.
MAX_STREAMED_VALIDATION_ROWS = 256


@dataclasses.dataclass(frozen=True)
class StageRows:
    """The rows of a stage.

    Args:
        train: Rows of the training split: `PackedRows`, `StreamedRows`, or an object with their methods.
        validation: Those of the validation split, or None if it is empty.
        data_key: Hash of the data that they are made from; a run is resumed on data of the same key alone.
        held_out_key: Hash of the documents behind `validation` where they are no split of the same data.
    """

    train: Any
    validation: Any | None
    data_key: str
    held_out_key: str | None = None


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
        self.show_progress = preparation.show_progress
        reports_tasks = stage.tasks is not None and bool(
            objective_from_config(stage.objective).with_tasks(preparation.tasks).tasks
        )
        self._tasks = preparation.tasks if reports_tasks else []
        self._preparation = preparation

    def stores(self, opened: StageSources) -> list[Any]:
        """Returns the `TokenStore` of each source of the stage; its only document is split by length."""
        stores = [self._preparation.store(source, self.config.validation_split) for source in opened.sources]
        return [split_by_length(stores[0])] if len(stores) == 1 else stores

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

    def derived(self, stores: Sequence[TokenStore], derivation: Derivation) -> list[DerivedColumns]:
        """Returns derived columns of each store, which are computed where they are new.

        Args:
            stores: The stores.
            derivation: What computes the columns.
        """
        return [
            derive_columns(
                store,
                derivation,
                columns_folder(store, self.cache_dir),
                show_progress=self.show_progress and sys.stderr.isatty(),
            )
            for store in stores
        ]

    def packed_stores(
        self, opened: StageSources, stores: Sequence[Any], derived: Sequence[TokenColumns] | None = None
    ) -> StageRows:
        """Returns rows of packed documents of token stores.

        Args:
            opened: The stage's sources.
            stores: The store of each.
            derived: For each store the derived columns that batches get; None for none.
        """

        tasks = document_tasks(stores, opened.tasks, self._tasks) if self._tasks else None

        def rows(split: str, weights: list[float] | None) -> PackedRows:
            return PackedRows(
                stores,
                row_length=self.config.max_seq_length,
                seed=self.seed,
                split=split,
                weights=weights,
                packing=self.packing,
                derived=derived,
                numbers=None if tasks is None else {TASK_IDS: tasks},
                whole_documents=self.config.whole_documents,
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
        if config.whole_documents:
            raise ConfigError(
                f"{name} reads {source.name} as a stream, whose documents are cut where a row ends; "
                "leave `whole_documents` out, or read it without `stream`"
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
