"""The datasets of stages, opened."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from highnoon.config import ConfigError
from highnoon.data import DataError, DocumentSource, SourceNotFoundError, open_source
from highnoon.data.sources.distinct_names import require_distinct_names
from highnoon.data.sources.open_source import require_source_options
from highnoon.tokenization import ChatTemplate
from highnoon.training.plans.stages import CurriculumStage

MODEL_TEMPLATE = "model"
"""What a dataset gives as `chat_template` for that of the model's tokenizer."""


@dataclasses.dataclass
class StageSources:
    """The opened datasets of a stage.

    Args:
        sources: In the order in which they were given; a folder of domains that is to be balanced is one
            source a domain.
        weights: Their fractions of the rows, where they were given.
        streamed: Names of those that are read as streams, see `StreamedRows`.
        held_out: Those of the stage's `validation_data`; None where it has none.
        tasks: The task of each source; None where the stage names no tasks.
    """

    sources: list[DocumentSource]
    weights: list[float] | None
    streamed: list[str]
    held_out: StageSources | None = None
    tasks: list[str] | None = None


def open_stage_sources(
    stages: Iterable[CurriculumStage],
    data_dir: str | os.PathLike[str] | None,
    model_template: ChatTemplate | None = None,
    *,
    with_held_out: bool = True,
) -> list[StageSources]:
    """Returns the sources of each stage.

    Args:
        stages: The stages.
        data_dir: Where named datasets are.
        model_template: What a dataset means by the word "model" as its `chat_template`: that of the
            model's tokenizer.
        with_held_out: Whether to open the stages' `validation_data` too.

    Raises:
        ConfigError: validation data that is read as a stream.
        DataError: a dataset cannot be found, or all of a stage's optional ones are missing.
    """
    opened = []
    for stage in stages:
        sources = _open_stage(stage, data_dir, model_template)
        held_out = stage.validation_stage() if with_held_out else None
        if held_out is not None:
            sources.held_out = _open_held_out(stage, held_out, data_dir, model_template)
        opened.append(sources)
    return opened


def _open_stage(
    stage: CurriculumStage, data_dir: str | os.PathLike[str] | None, model_template: ChatTemplate | None
) -> StageSources:
    names, weights = stage.dataset_names_and_weights()
    opened: list[DocumentSource] = []
    streamed: list[str] = []
    present: list[float] = []
    tasks: list[str] | None = None if stage.tasks is None else []
    for index, name in enumerate(names):
        try:
            source, is_streamed = _open_dataset(name, data_dir, model_template)
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
        if tasks is not None and stage.tasks is not None:
            tasks += [stage.tasks[index]] * len(parts)
    if not opened:
        raise DataError(f"all datasets of stage `{stage.name}` are optional, and none of them is there")
    require_distinct_names(opened)
    if weights is not None and len(present) < len(weights):
        weights = [weight / sum(present) for weight in present]
    return StageSources(opened, weights, streamed, tasks=tasks)


def _open_held_out(
    stage: CurriculumStage,
    held_out: CurriculumStage,
    data_dir: str | os.PathLike[str] | None,
    model_template: ChatTemplate | None,
) -> StageSources:
    opened = _open_stage(held_out, data_dir, model_template)
    if opened.streamed:
        raise ConfigError(
            f"stage `{stage.name}`: `validation_data` reads {opened.streamed[0]} as a stream, which is not "
            "read again at each evaluation; read it without `stream`"
        )
    return opened


def _open_dataset(
    entry: Any, data_dir: str | os.PathLike[str] | None, model_template: ChatTemplate | None
) -> tuple[DocumentSource, bool]:
    """Returns the source of a stage's dataset, and whether the stage reads it as a stream.

    Args:
        entry: A name, an object, or a mapping of `name`, options of `open_source`, and `stream`: true reads
            the source forward while the run trains, see `StreamedRows`.
        data_dir: Where named datasets are.
        model_template: See `open_stage_sources`.
    """
    if not isinstance(entry, Mapping):
        source = open_source(entry, data_dir=data_dir)
        return source, source.is_streamed
    options = require_source_options(entry)
    is_streamed = options.pop("stream", False)
    if options.get("chat_template") == MODEL_TEMPLATE:
        options["chat_template"] = model_template
    source = open_source(**options, data_dir=data_dir)
    return source, source.is_streamed or is_streamed
