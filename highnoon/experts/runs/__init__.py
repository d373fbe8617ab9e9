"""The runs of a mixture of experts: each expert by itself, the router, and the mixture that they make.

- `expert_forms`: the experts that are trained by name; `run_tokenizer`: the one tokenizer of all of them.
- `pretrain_expert`, `train_router`, `assemble_mixture`: one step each; `vector_store`: a memory of the text.
- `run_with_snapshots`, `choose_checkpoint`: how a run is saved, and from which checkpoint it resumes.
- `recorded_step`: skips steps that are done; `evaluate_router`: figures of experts and mixture.
"""

from __future__ import annotations

from highnoon.experts.runs.assemble_mixture import assemble_mixture
from highnoon.experts.runs.pretrain_expert import pretrain_expert
from highnoon.experts.runs.run_tokenizer import run_tokenizer
from highnoon.experts.runs.run_with_snapshots import Resuming
from highnoon.experts.runs.train_router import train_router
from highnoon.experts.runs.vector_store import build_vector_store

__all__ = [
    "Resuming",
    "assemble_mixture",
    "build_vector_store",
    "pretrain_expert",
    "run_tokenizer",
    "train_router",
]
