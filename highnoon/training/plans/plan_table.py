"""A training plan as a table that a person reads before the run: as text, Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence

from highnoon.files.duration import duration_text
from highnoon.files.html_table import html_lines, html_table
from highnoon.files.markdown import markdown_code, markdown_table
from highnoon.training.plans.stage_plan import StagePlan

_HEAD = (
    "stage",
    "data",
    "documents",
    "tokens/epoch",
    "rows x length",
    "epochs",
    "steps",
    "batch size",
    "peak learning rate",
    "order",
    "time",
)
_MOST_SPANS = 6


def format_plan(stages: Sequence[StagePlan], warmup_steps: int, notes: Sequence[str]) -> str:
    """Returns one line a stage, then what does not fit into it: mixes, overrides, the curriculum's growth.

    Args:
        stages: In the order in which they run.
        warmup_steps: Steps of linear warm-up at the run's start.
        notes: Lines that end the table.
    """
    lines = [_HEAD, *(_cells(stage) for stage in stages)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([*(line.rstrip() for line in table), *_lines_below(stages, warmup_steps, notes)])


def plan_as_markdown(stages: Sequence[StagePlan], warmup_steps: int, notes: Sequence[str]) -> str:
    """Returns what `format_plan` does as Markdown."""
    table = markdown_table(_HEAD, [_cells(stage) for stage in stages])
    return f"{table}\n\n{markdown_code(chr(10).join(_lines_below(stages, warmup_steps, notes)))}"


def plan_as_html(stages: Sequence[StagePlan], warmup_steps: int, notes: Sequence[str]) -> str:
    """Returns what `format_plan` does as HTML."""
    table = html_table(_HEAD, [_cells(stage) for stage in stages])
    return table + html_lines(_lines_below(stages, warmup_steps, notes))


def _lines_below(stages: Sequence[StagePlan], warmup_steps: int, notes: Sequence[str]) -> list[str]:
    total = f"{sum(stage.steps for stage in stages):,} steps in all, warm-up {warmup_steps:,}"
    return [*(line for stage in stages for line in _details(stage)), total, *notes]


def _cells(stage: StagePlan) -> tuple[str, ...]:
    return (
        stage.name,
        " + ".join(stage.datasets),
        f"{stage.documents:,} (+{stage.validation_documents:,} held out)",
        f"{stage.tokens:,}",
        f"{stage.rows:,} x {stage.row_length:,}",
        "-" if stage.epochs is None else str(stage.epochs),
        f"{'at most ' if stage.is_upper_bound else ''}{stage.steps:,}",
        str(stage.rows_per_step),
        f"{stage.learning_rate:g}",
        stage.order,
        "-" if stage.least_seconds is None else f"at least {duration_text(stage.least_seconds)}",
    )


def _details(stage: StagePlan) -> list[str]:
    """Lines below the table: objective, weights, mix, overrides and the documents of each span of epochs."""
    lines = []
    if stage.objective["name"] != "next_token":
        options = ", ".join(f"{key}={value}" for key, value in stage.objective.items() if key != "name")
        lines.append(f"{stage.name}: objective {stage.objective['name']}{f' ({options})' if options else ''}")
    if stage.frozen_models:
        hashes = ", ".join(f"{name} {value[:12]}" for name, value in stage.frozen_models.items())
        lines.append(f"{stage.name}: frozen models (hash of the weights): {hashes}")
    if stage.trainable is not None:
        lines.append(f"{stage.name}: trains only {', '.join(stage.trainable)}")
    if len(stage.mix) > 1:
        parts = (f"{part['name']} {part['share']:.1%} (x{part['repeats']:.2f})" for part in stage.mix)
        lines.append(f"{stage.name}: mix by tokens (epochs of each in one of all): {', '.join(parts)}")
    if stage.overrides:
        lines.append(f"{stage.name}: {', '.join(f'{k}={v}' for k, v in stage.overrides.items())}")
    if len({span["documents"] for span in stage.timeline}) > 1:
        spans = [
            f"{span['documents']:,} for {span['epochs'] * span['steps']:,} steps" for span in stage.timeline
        ]
        if len(spans) > _MOST_SPANS:
            spans = [*spans[: _MOST_SPANS - 1], f"... {spans[-1]}"]
        lines.append(f"{stage.name}: easiest documents: {', '.join(spans)}")
    return lines
