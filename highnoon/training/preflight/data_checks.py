"""Whether tokenizer and rows are what a run expects, from the first rows of each stage."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stage_plan import StagePlan

_FEW_SUPERVISED = 0.5

# Long prompts may fill the rows of a first step: so much is looked at for something that is learnt.
_STEPS_LOOKED_AT = 64
_TOKENS_LOOKED_AT = 2**20


@dataclasses.dataclass(frozen=True)
class StageCheck:
    """What was seen of one stage.

    Args:
        name: Of the stage.
        steps: Optimizer steps of the plan.
        rows: Rows in one pass.
        tokens: Training tokens in one pass.
        row_length: Tokens in a row.
        rows_per_step: Rows of an optimizer step on all replicas.
        num_rows_seen: Rows that were looked at: those of the first step.
        supervised_share: Share of their places that have a label.
        problems: What makes the stage's training meaningless, a line each.
        warnings: What a person should look at, a line each.
    """

    name: str
    steps: int
    rows: int
    tokens: int
    row_length: int
    rows_per_step: int
    num_rows_seen: int
    supervised_share: float
    problems: list[str]
    warnings: list[str]

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.steps:,} steps of {self.rows_per_step} rows of {self.row_length:,}; "
            f"{self.rows:,} rows and {self.tokens:,} tokens a pass; "
            f"{self.supervised_share:.0%} of the first {self.num_rows_seen} rows supervised"
        )


def tokenizer_problems(model: keras.Model, tokenizer: Any) -> list[str]:
    """Returns what does not fit between a tokenizer and a model, a line each."""
    problems = []
    vocab_size = getattr(model, "vocab_size", None)
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        problems.append(
            f"the tokenizer has {tokenizer.vocab_size:,} ids and the model takes {vocab_size:,}; create the "
            f"model with vocab_size={tokenizer.vocab_size} or train a smaller tokenizer"
        )
    ids = {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("pad", "bos", "eos")}
    if ids["eos"] is None:
        problems.append("the tokenizer has no end token: the model would never learn to stop")
    given = [value for value in ids.values() if value is not None]
    if len(set(given)) < len(given):
        listed = ", ".join(f"{name} {value}" for name, value in ids.items())
        problems.append(f"begin, end and padding must have ids of their own; the tokenizer has {listed}")
    return problems


def check_stage(data: StageData, plan: StagePlan, tokenizer: Any) -> StageCheck:
    """Looks at the rows of a stage's first step."""
    view = data.view(0, data.num_allowed(0, 0))
    batch = data.batch(view, 0)
    problems, warnings = _problems(batch, tokenizer), []
    if not problems and (unsupervised := _first_unsupervised(data, view)):
        problems.append(
            f"nothing in its first {unsupervised} rows is supervised: its first steps would change no weight."
            f" {_why_unsupervised(batch)}"
        )
    share = float(np.mean(batch["loss_weights"] > 0)) if batch["loss_weights"].size else 0.0
    if not problems and 0 < share < _FEW_SUPERVISED:
        warnings.append(
            f"only {share:.0%} of the places in the first rows are supervised. {_why_unsupervised(batch)}"
        )
    label = f"stage `{plan.name}`: "
    return StageCheck(
        name=plan.name,
        steps=plan.steps,
        rows=plan.rows,
        tokens=plan.tokens,
        row_length=plan.row_length,
        rows_per_step=plan.rows_per_step,
        num_rows_seen=len(batch["token_ids"]),
        supervised_share=share,
        problems=[label + problem for problem in problems],
        warnings=[label + warning for warning in warnings],
    )


def _why_unsupervised(batch: dict[str, np.ndarray]) -> str:
    """Says whether it is padding or tokens without a loss that fills the places without supervision."""
    is_padding = batch["segment_ids"] == 0
    num_unlearned = int(np.sum(~is_padding & (batch["loss_weights"] == 0)))
    if int(is_padding.sum()) >= num_unlearned:
        share = np.mean(is_padding)
        return f"Padding fills {share:.0%} of them; a shorter `max_seq_length` would waste less"
    share = num_unlearned / is_padding.size
    return (
        f"Tokens that are only read, such as what users say in conversations, fill {share:.0%} of them; "
        "check that the answers are turns of the assistant"
    )


def _first_unsupervised(data: StageData, view: Any) -> int:
    """Returns how many rows were looked at for something that is learnt, in vain; 0 where there is some."""
    most = min(_STEPS_LOOKED_AT, max(1, _TOKENS_LOOKED_AT // data.tokens_per_step), data.steps_in(view))
    if any((data.batch(view, step)["loss_weights"] > 0).any() for step in range(most)):
        return 0
    return min(most * data.rows_per_step, view.num_rows)


def _problems(batch: dict[str, np.ndarray], tokenizer: Any) -> list[str]:
    if not len(batch["token_ids"]):
        return ["it has no row in its first epoch"]
    problems = []
    num_empty = int(np.sum(batch["segment_ids"].max(axis=1) == 0))
    if num_empty:
        problems.append(f"{num_empty} of its first {len(batch['token_ids'])} rows hold no token")
    unended, ended = _document_ends(batch, tokenizer.eos_token_id)
    if tokenizer.eos_token_id is not None and unended:
        problems.append(
            f"{unended} of the {unended + ended} documents that end within its first rows do so without the "
            f"end token (id {tokenizer.eos_token_id}); tokenise the data again with this tokenizer"
        )
    return problems


def _document_ends(batch: dict[str, np.ndarray], end_id: int | None) -> tuple[int, int]:
    """Returns how many documents that are seen to end within a row do so without the end token, and with it.

    The last token of a document stands where the next place belongs to another one, or is padding. It is
    the label of the place before; where a document's last token is only a label, its row is cut there and
    nothing is known.
    """
    segments, ids = batch["segment_ids"], batch["token_ids"]
    is_last = (segments[:, :-1] > 0) & (segments[:, 1:] != segments[:, :-1])
    last = np.where(batch["loss_weights"][:, :-1] > 0, batch["labels"][:, :-1], ids[:, :-1])[is_last]
    ended = int((last == end_id).sum())
    return len(last) - ended, ended
