"""Shows what a step of a run was trained on, row by row, from its checkpoint alone."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from highnoon.config import TrainingConfig
from highnoon.data.sequences.streamed_rows import StreamedRows
from highnoon.training.checkpoints import checkpoint, snapshot
from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stage_preparation import HELD_OUT, StagePreparation
from highnoon.training.plans.stage_sources import open_stage_sources


@dataclasses.dataclass(frozen=True)
class ReplayedPiece:
    """A span of a document within a row.

    Args:
        document: Index in the training split of the stage's data.
        dataset: Name of the dataset that it belongs to.
        domain: Of the document; empty where the data was streamed.
        text: The span, decoded.
        learned: What of it was supervised: the tokens' texts that were labels, joined.
        num_tokens: Tokens of the span.
        num_learned: Of them, those that another was predicted from.
        origin: The file and line or record that the document was read from; empty if it is not recorded.
    """

    document: int
    dataset: str
    domain: str
    text: str
    learned: str
    num_tokens: int
    num_learned: int
    origin: str = ""


@dataclasses.dataclass(frozen=True)
class ReplayedStep:
    """The global batch of one optimizer step.

    Args:
        step: From 1 within the run.
        stage: Name.
        epoch: From 0 within the stage.
        step_in_epoch: From 0.
        rows: The pieces of each row, from left to right.
        batch: The arrays themselves.
    """

    step: int
    stage: str
    epoch: int
    step_in_epoch: int
    rows: list[list[ReplayedPiece]]
    batch: dict[str, Any]


class Replay:
    """Computes the batches of a run again.

    Only the start of each epoch was recorded for it: rows are a function of the data, the seed and the
    step, so the data must be as it was; its hash is compared with the run's.

    Args:
        run: A checkpoint, a folder of them, or a run's output folder with `checkpoints` in it.
        data_dir: Where named datasets are; None takes the run's own.
        cache_dir: Where tokens are stored, see `tokenize`.

    Raises:
        CheckpointError: there is no checkpoint, or it is of no run.
        DataError: a dataset is missing.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        data_dir: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        inside = os.path.join(run, "checkpoints")
        self.folder = checkpoint.find_checkpoint(inside if os.path.isdir(inside) else run)
        self._state = checkpoint.read_state(self.folder)
        if not self._state.get("run") or not self._state["run"]["progress"].get("spans"):
            raise checkpoint.CheckpointError(
                f"{self.folder} holds no run whose steps could be shown: give a checkpoint that train() wrote"
            )
        self._tokenizer: Any = snapshot.read_tokenizer(self.folder)
        self._data_dir = self._state["data_dir"] if data_dir is None else data_dir
        self._cache_dir = cache_dir
        self._stages: dict[int, StageData] = {}

    @property
    def last_step(self) -> int:
        """The last step that the checkpoint covers."""
        return int(self._state["run"]["progress"]["step"])

    def step(self, step: int) -> ReplayedStep:
        """Returns what a step was trained on.

        Raises:
            ValueError: the run had no such step when the checkpoint was written.
            CheckpointError: the data is not what the run was trained on.
        """
        if not 1 <= step <= self.last_step:
            raise ValueError(f"{self.folder} knows steps 1 to {self.last_step}; received {step}")
        spans = self._state["run"]["progress"]["spans"]
        first, stage, epoch, allowed, first_in_epoch = next(s for s in reversed(spans) if s[0] <= step)
        data = self._stage(stage)
        view = data.view(epoch, allowed)
        here = first_in_epoch + step - first
        batch = data.batch(view, here)
        rows = [
            self._pieces(data, documents, {name: array[row] for name, array in batch.items()})
            for row, documents in enumerate(data.documents(view, here))
        ]
        return ReplayedStep(step, data.stage.name, epoch, here, rows, batch)

    def _stage(self, index: int) -> StageData:
        if index not in self._stages:
            self._stages[index] = self._prepare(index)
        return self._stages[index]

    def _prepare(self, index: int) -> StageData:
        stage = snapshot.stage_from_dict(self._state["stages"][index])
        plan = self._state["plan"]["stages"][index]
        config = TrainingConfig(**self._state["training_config"])
        # The plan says what a step held, whatever the number of devices.
        as_run = {
            "max_seq_length": plan["row_length"],
            "global_batch_size": plan["rows_per_step"],
            "batch_size": 1,
        }
        config = dataclasses.replace(config, **as_run)
        preparation = StagePreparation(self._state["packing"], self._tokenizer, self._cache_dir)
        template = getattr(self._tokenizer, "chat_template", None)
        (opened,) = open_stage_sources([stage], self._data_dir, template, with_held_out=False)
        data = preparation.prepare(stage, opened, config, config.seed + index)
        trained_on = plan["data_key"].partition(HELD_OUT)[0]
        if data.data_key != trained_on:
            raise checkpoint.CheckpointError(
                f"the data of stage `{stage.name}` is not what the run in {self.folder} was trained on: its "
                f"hash is {data.data_key}, the run's {trained_on}; give the old files as data_dir"
            )
        return data

    def _pieces(self, data: StageData, documents: list[int], row: dict[str, Any]) -> list[ReplayedPiece]:
        pieces: list[ReplayedPiece] = []
        if "segment_ids" not in row or "labels" not in row:
            # Rows of an objective whose columns do not divide them into documents: `batch` shows them.
            return pieces
        for number, document in enumerate(documents, start=1):
            is_here = row["segment_ids"] == number
            learned = row["labels"][is_here & (row["loss_weights"] > 0)].tolist()
            tokens = row["token_ids"][is_here].tolist()
            pieces.append(
                ReplayedPiece(
                    document,
                    *_origin(data, document),
                    self._tokenizer.decode(tokens),
                    self._tokenizer.decode(learned),
                    len(tokens),
                    len(learned),
                    _read_from(data, document),
                )
            )
        return pieces


def _read_from(data: StageData, document: int) -> str:
    """The file and record of a document; empty for streams, and for tokens prepared without it."""
    origin = getattr(data.train_rows, "origin", None)
    return "" if origin is None else origin(document) or ""


def _origin(data: StageData, document: int) -> tuple[str, str]:
    """The dataset and the domain of a document; a stream keeps no domains."""
    rows = data.train_rows
    if isinstance(rows, StreamedRows):
        return rows.source.name, ""
    return rows.stores[int(rows.store_of[document])].name, rows.domain(document)
