"""Checks of the tokenizer and of the first rows of each stage."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from highnoon.training.plans.stage_data import StageData
from highnoon.training.plans.stage_plan import StagePlan

_FEW_SUPERVISED_OF_PADDED = 0.5
"""More padding than this is worth a shorter row."""
_FEW_SUPERVISED_OF_TEXT = 0.05
"""Answers are 10 to 50% of ordinary conversations; fewer suggest that the wrong turns are supervised."""

# The first steps may hold long prompts only: up to so many are searched for a supervised token.
_STEPS_SEARCHED = 64
_TOKENS_SEARCHED = 2**20

# Columns of rows for language models; the rows of other objectives are checked by their weight alone.
_LANGUAGE_COLUMNS = {"token_ids", "labels", "segment_ids", "loss_weights"}


@dataclasses.dataclass(frozen=True)
class StageCheck:
    """The result of checking one stage.

    Args:
        name: Name of the stage.
        steps: Optimizer steps of the plan.
        rows: Rows in one pass.
        tokens: Training tokens in one pass.
        row_length: Tokens in a row.
        rows_per_step: Rows of an optimizer step on all replicas.
        num_rows_seen: Rows that were checked: those of the first step.
        supervised_fraction: Fraction of their positions that are supervised; None for rows that are not those
            of a language model.
        problems: Reasons why training the stage is meaningless, one per line.
        warnings: Things that a person should check, one per line.
    """

    name: str
    steps: int
    rows: int
    tokens: int
    row_length: int
    rows_per_step: int
    num_rows_seen: int
    supervised_fraction: float | None
    problems: list[str]
    warnings: list[str]

    def __str__(self) -> str:
        supervised = ""
        if self.supervised_fraction is not None:
            first = f"the first {self.num_rows_seen} rows"
            supervised = f"; {self.supervised_fraction:.0%} of {first} supervised"
        return (
            f"{self.name}: {self.steps:,} steps of {self.rows_per_step} rows of {self.row_length:,}; "
            f"{self.rows:,} rows and {self.tokens:,} tokens a pass{supervised}"
        )


def tokenizer_problems(model: keras.Model, tokenizer: Any, *, writes_text: bool = True) -> list[str]:
    """Returns in what respects a tokenizer and a model do not fit, one per line.

    Args:
        model: The model that is trained.
        tokenizer: The run's tokenizer.
        writes_text: Whether the model learns to write text, and so needs an end token.
    """
    problems = []
    vocab_size = getattr(model, "vocab_size", None)
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        problems.append(
            f"the tokenizer has {tokenizer.vocab_size:,} ids and the model takes {vocab_size:,}; create the "
            f"model with vocab_size={tokenizer.vocab_size} or train a smaller tokenizer"
        )
    ids = {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("pad", "bos", "eos")}
    if ids["eos"] is None and writes_text:
        problems.append("the tokenizer has no end token: the model would never learn to stop")
    given = [value for value in ids.values() if value is not None]
    if len(set(given)) < len(given):
        listed = ", ".join(f"{name} {value}" for name, value in ids.items())
        problems.append(f"begin, end and padding must have ids of their own; the tokenizer has {listed}")
    return problems


def check_stage(data: StageData, plan: StagePlan, tokenizer: Any) -> StageCheck:
    """Checks the rows of a stage's first step."""
    view = data.view(0, data.num_allowed(0, 0))
    batch = data.batch(view, 0)
    num_rows = len(batch[next(iter(data.objective.columns))])
    warnings: list[str] = []
    fraction: float | None = None
    if not num_rows:
        problems = ["it has no row in its first epoch"]
    elif trains_language(data):
        problems, warnings, fraction = _check_language_rows(data, view, batch, tokenizer)
    else:
        is_counted = float(keras.ops.convert_to_numpy(data.objective.weight(batch))) > 0
        problems = [] if is_counted else [f"the objective gives its first {num_rows} rows the weight 0"]
    label = f"stage `{plan.name}`: "
    return StageCheck(
        name=plan.name,
        steps=plan.steps,
        rows=plan.rows,
        tokens=plan.tokens,
        row_length=plan.row_length,
        rows_per_step=plan.rows_per_step,
        num_rows_seen=num_rows,
        supervised_fraction=fraction,
        problems=[label + problem for problem in problems],
        warnings=[label + warning for warning in warnings],
    )


def trains_language(data: StageData) -> bool:
    """Whether the rows of a stage are those of a language model: tokens with a label each."""
    columns = data.objective.columns
    return all(name in columns and columns[name].axes == ("token",) for name in _LANGUAGE_COLUMNS)


def _check_language_rows(
    data: StageData, view: Any, batch: dict[str, np.ndarray], tokenizer: Any
) -> tuple[list[str], list[str], float]:
    """Returns problems, warnings, and the fraction of supervised positions."""
    problems, warnings = _problems(batch, tokenizer), []
    if not problems and (unsupervised := _first_unsupervised(data, view)):
        problems.append(
            f"nothing in its first {unsupervised} rows is supervised: its first steps would change no weight."
            f" {_why_unsupervised(batch)}"
        )
    fraction = float(np.mean(batch["loss_weights"] > 0))
    few = _FEW_SUPERVISED_OF_PADDED if _is_mostly_padding(batch) else _FEW_SUPERVISED_OF_TEXT
    if not problems and 0 < fraction < few:
        warnings.append(
            f"only {fraction:.0%} of the positions in the first rows are supervised. "
            f"{_why_unsupervised(batch)}"
        )
    return problems, warnings, fraction


def _why_unsupervised(batch: dict[str, np.ndarray]) -> str:
    """Says whether most positions without supervision are padding or tokens without a loss."""
    is_padding = batch["segment_ids"] == 0
    num_without_loss = int(np.sum(~is_padding & (batch["loss_weights"] == 0)))
    if _is_mostly_padding(batch):
        return f"Padding fills {np.mean(is_padding):.0%} of them; a shorter `max_seq_length` would waste less"
    return (
        f"Tokens without a loss, such as the turns of users in conversations, fill "
        f"{num_without_loss / is_padding.size:.0%} of them, and only answers are supervised: check that the "
        "answers are turns of the assistant; `highnoon data inspect FILE` marks what is supervised"
    )


def _is_mostly_padding(batch: dict[str, np.ndarray]) -> bool:
    """Whether more positions are padding than tokens without a loss."""
    is_padding = batch["segment_ids"] == 0
    return int(is_padding.sum()) >= int(np.sum(~is_padding & (batch["loss_weights"] == 0)))


def _first_unsupervised(data: StageData, view: Any) -> int:
    """Returns how many rows were searched without finding a supervised token; 0 if there is one."""
    most = min(_STEPS_SEARCHED, max(1, _TOKENS_SEARCHED // data.tokens_per_step), data.steps_in(view))
    if any((data.batch(view, step)["loss_weights"] > 0).any() for step in range(most)):
        return 0
    return min(most * data.rows_per_step, view.num_rows)


def _problems(batch: dict[str, np.ndarray], tokenizer: Any) -> list[str]:
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
    """Returns how many documents that end within a row do so without the end token, and how many with it.

    The last token of a document is at a position before another document or padding, or is the label of that
    position. A document that is cut at the end of a row is not counted.
    """
    segments, ids = batch["segment_ids"], batch["token_ids"]
    is_last = (segments[:, :-1] > 0) & (segments[:, 1:] != segments[:, :-1])
    last = np.where(batch["loss_weights"][:, :-1] > 0, batch["labels"][:, :-1], ids[:, :-1])[is_last]
    ended = int((last == end_id).sum())
    return len(last) - ended, ended
