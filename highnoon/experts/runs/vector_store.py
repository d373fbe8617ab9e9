"""A memory of the training text for a trained expert, and what it gains on held-out text."""

from __future__ import annotations

import importlib.util
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import highnoon as hn
from highnoon.data import tokenize
from highnoon.experts.memory_evaluation import MemoryEvaluation, evaluate_memory
from highnoon.experts.runs.expert_forms import trained_expert
from highnoon.experts.vector_memory import VectorMemory
from highnoon.files.expand_home import expand_home
from highnoon.training.plans.stage_sources import open_stage_sources
from highnoon.training.plans.stages import CurriculumStage
from highnoon.vectors import FaissIndex, VectorIndex

STORE_FOLDER = "vector_store"


def build_vector_store(
    stage: Mapping[str, Any],
    *,
    expert: str = "transformer",
    checkpoint_dir: str | os.PathLike[str] = "checkpoints",
    validation_split: float = 0.1,
    batch_size: int = 8,
) -> MemoryEvaluation:
    """Builds `checkpoint_dir/vector_store` of an expert's states, and measures it on held-out documents.

    Args:
        stage: The data, as arguments of `Trainer.add_curriculum_stage`.
        expert: Whose states are stored.
        checkpoint_dir: Folder of the runs.
        validation_split: Fraction of documents held out.
        batch_size: Rows computed together.

    Returns:
        The loss with and without the memory.

    Raises:
        ConfigError: the expert is not trained, or fewer than two documents are held out.
    """
    runs = pathlib.Path(expand_home(checkpoint_dir))
    model = hn.load_model(trained_expert(expert, str(runs)))
    (opened,) = open_stage_sources([CurriculumStage("vector_store", steps=1, **stage)], None)
    stores = [
        tokenize(source, model.tokenizer, validation_split=validation_split) for source in opened.sources
    ]
    make_index: Callable[..., VectorIndex] = FaissIndex if importlib.util.find_spec("faiss") else VectorIndex
    memory = VectorMemory.build(
        model, stores, runs / STORE_FOLDER, batch_size=batch_size, make_index=make_index
    )
    rows = memory.rows(stores, model.max_seq_length)
    return evaluate_memory(memory, model, rows, batch_size)
