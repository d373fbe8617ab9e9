"""Base class of objectives whose rows hold pairs of answers."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from keras import ops

from highnoon.alignment.answer_pairs import AnswerPairs, as_pairs
from highnoon.alignment.pair_rows import PairRows
from highnoon.alignment.pair_view import PAIR_VALUES
from highnoon.alignment.preference_documents import PreferenceDocuments
from highnoon.config import ConfigError, require_choice
from highnoon.data import DocumentSource
from highnoon.training.objective import NEXT_TOKEN_COLUMNS, Column, Metric, Objective

if TYPE_CHECKING:
    from highnoon.training.plans.row_preparation import RowPreparation, StageRows
    from highnoon.training.plans.stage_sources import StageSources

PAIR_COLUMNS: Mapping[str, Column] = {
    **{name: Column(column.dtype, (2, "token")) for name, column in NEXT_TOKEN_COLUMNS.items()},
    PAIR_VALUES: Column("float32", ("token",)),
}
INPUTS = ("token_ids", "labels", "segment_ids", "positions")


class PairObjective(Objective):
    """An objective that is a mean over pairs.

    Args:
        overlong: What happens to an answer that does not fit into a row. `"truncate"` cuts it at its end; a
            pair of whose answers nothing, or nothing that differs, is left is an error. `"skip"` leaves such
            pairs out and warns of their number.
    """

    pairs_class: ClassVar[type[AnswerPairs]] = PreferenceDocuments
    lanes: ClassVar[tuple[int, ...]] = (0, 1)
    """The lanes of a row that the model is trained on."""
    columns = PAIR_COLUMNS
    sequences_per_row = 2

    def __init__(self, overlong: str = "truncate") -> None:
        self.overlong = require_choice("overlong", overlong, ("truncate", "skip"))

    def weight(self, batch: Mapping[str, Any]) -> Any:
        """Pairs; a row of padding has none."""
        return ops.sum(ops.cast(ops.max(batch["segment_ids"][:, 0], axis=-1), "float32"))

    def aux_weight(self, batch: Mapping[str, Any]) -> Any:
        """Tokens that are not padding, of the lanes that are trained on."""
        return ops.sum(ops.cast(self.in_lanes(batch["segment_ids"]) > 0, "float32"))

    def in_lanes(self, array: Any, lanes: tuple[int, ...] | None = None) -> Any:
        """Returns the lanes of a column as rows of their own: (rows, 2, t, ..) to (rows * lanes, t, ..).

        Args:
            array: A column.
            lanes: Which; None takes those that are trained on.
        """
        lanes = self.lanes if lanes is None else lanes
        array = ops.convert_to_tensor(array)
        chosen = array if len(lanes) == 2 else array[:, lanes[0] : lanes[0] + 1]
        return ops.reshape(chosen, (-1, *chosen.shape[2:]))

    def by_lane(self, array: Any, lanes: tuple[int, ...] | None = None) -> list[Any]:
        """Returns one array (rows, t) a lane: the inverse of `in_lanes`."""
        lanes = self.lanes if lanes is None else lanes
        array = ops.reshape(array, (-1, len(lanes), array.shape[1]))
        return [array[:, number] for number in range(len(lanes))]

    def token_metrics(self, metrics: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Metric]:
        """Returns what layers report, token means, as sums."""
        num_tokens = self.aux_weight(batch)
        return {name: Metric(value * num_tokens, num_tokens) for name, value in metrics.items()}

    def pair_options(self) -> dict[str, Any]:
        """Returns the options of `pairs_class` besides the source."""
        return {}

    def derived(self, stores: Any, preparation: RowPreparation) -> Any:
        """Returns the derived columns of each store; None for none."""
        return None

    def sequences(self, sources: StageSources, preparation: RowPreparation) -> StageRows:
        """Returns rows of pairs.

        Raises:
            ConfigError: a source has no records, or is a stream.
            BadRecordError: a record cannot be used, see `overlong`.
        """
        name = f"stage `{preparation.stage.name}`"
        if sources.streamed:
            raise ConfigError(
                f"{name} reads {sources.streamed[0]} as a stream, and alignment reads all pairs before the "
                "first step; read it without `stream`"
            )
        pairs: list[DocumentSource] = [
            as_pairs(source, self.pairs_class, **self.pair_options()) for source in sources.sources
        ]
        opened = dataclasses.replace(sources, sources=pairs)
        stores = preparation.stores(opened)
        derived = self.derived(stores, preparation)

        def rows(split: str, weights: list[float] | None) -> PairRows:
            return PairRows(
                stores,
                preparation.config.max_seq_length,
                preparation.seed,
                split,
                weights,
                preparation.packing,
                derived,
                may_be_equal=self.pairs_class is not PreferenceDocuments,
                row_columns=self.global_columns,
                skips_unusable=self.overlong == "skip",
            )

        made = preparation.split_rows(opened, stores, rows)
        both = [side for side in (made.train, made.validation) if side is not None]
        counts = {
            f"have an answer that is cut at max_seq_length={preparation.config.max_seq_length}": sum(
                side.num_truncated for side in both
            ),
            "are left out, since no answer of them fits into a row": sum(side.num_unusable for side in both),
        }
        for what, count in counts.items():
            if count:
                warnings.warn(f"{name}: {count:,} pairs {what}", stacklevel=2)
        return made

    def metric_values(self, metrics: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, float]:
        return {name: float(total) / weight for name, (total, weight) in metrics.items() if weight}

    def get_config(self) -> dict[str, Any]:
        return {"overlong": self.overlong}


def over_pairs(values: Any, is_pair: Any) -> Metric:
    """Returns the sum over pairs of values (rows, t), and the number of pairs."""
    mask = ops.cast(is_pair, values.dtype)
    return Metric(ops.sum(ops.where(is_pair, values, ops.zeros_like(values))), ops.sum(mask))
