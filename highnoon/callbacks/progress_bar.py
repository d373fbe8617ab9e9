"""Shows the progress of a run in the terminal."""

from __future__ import annotations

import datetime
import sys
import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from highnoon.callbacks.event_callback import EventCallback
from highnoon.files.terminal_console import TerminalConsole

_STEPS_TO_ESTIMATE = 10


class ProgressBar(EventCallback):
    """Shows stage, step, loss, tokens per second and remaining time: a bar in a terminal, lines elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self._console = TerminalConsole(file=sys.stdout)
        self._bar: Progress | None = None
        self._task: Any = None
        self._total_steps = 0
        self._num_calls = 0
        self._estimate_from: tuple[int, float] | None = None  # a step and when it ended

    def on_event(self, event: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _on_train_begin(self, event: dict[str, Any]) -> None:
        self._total_steps, self._num_calls, self._estimate_from = event["total_steps"], 0, None
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.fields[stage]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._task = self._bar.add_task(
            "train", total=event["total_steps"], completed=event["step"], stage="", figures=""
        )
        self._bar.start()

    def _on_stage_begin(self, event: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.update(self._task, stage=event["stage"])
        else:
            self._print(f"stage `{event['stage']}` begins at step {event['step']:,}")

    def _on_step_end(self, event: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=event["step"])
        step, now = event["step"], time.perf_counter()
        self._num_calls += 1
        # The first call compiles one step, the second may compile several: the estimate starts after them.
        if self._num_calls == 2:
            self._estimate_from = step, now
        elif self._estimate_from and step - self._estimate_from[0] >= _STEPS_TO_ESTIMATE:
            seconds = (now - self._estimate_from[1]) / (step - self._estimate_from[0])
            left = datetime.timedelta(seconds=round(seconds * (self._total_steps - step)))
            self._print(f"{seconds:.3g} s per step, about {left} left")
            self._estimate_from = None

    def _on_alert(self, event: dict[str, Any]) -> None:
        self._print(f"{event['severity']} at step {event['step']:,}: {event['message']}; {event['advice']}")

    def _on_step_skipped(self, event: dict[str, Any]) -> None:
        kept = f"; its batch is saved in {event['path']}" if event["path"] else ""
        self._print(
            f"step {event['step']:,} skipped: loss {event['loss']:.4g}, gradient norm "
            f"{event['grad_norm']:.4g}{kept}"
        )

    def _on_fault_answered(self, event: dict[str, Any]) -> None:
        self._print(f"{event['answer'].replace('_', ' ')}, now at step {event['step']:,}: {event['reason']}")

    def _on_micro_batch_halved(self, event: dict[str, Any]) -> None:
        self._print(
            f"step {event['step']:,} did not fit into memory; micro-batches now have "
            f"{event['micro_batch_size']} rows, and the global batch does not change"
        )

    def _on_sample(self, event: dict[str, Any]) -> None:
        for sample in event["samples"]:
            self._print(f"sample at step {event['step']:,}: {sample['text']!r}")

    def _on_log(self, event: dict[str, Any]) -> None:
        metrics = event["metrics"]
        figures = f"loss {metrics['train/loss']:.4f}, {metrics['train/tokens_per_second']:,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._task, figures=figures)
        else:
            self._print(f"step {event['step']:,}/{self._total_steps:,}  {figures}")

    def _on_epoch_end(self, event: dict[str, Any]) -> None:
        held_out = "" if event["val_loss"] is None else f", held-out loss {event['val_loss']:.4f}"
        self._print(f"[{event['stage']}] epoch {event['epoch']}: loss {event['loss']:.4f}{held_out}")

    def _on_early_stop(self, event: dict[str, Any]) -> None:
        best = event["best_val_loss"]
        known = "was never finite" if best is None else f"has not improved on {best:.4f}"
        self._print(f"[{event['stage']}] stops early: held-out loss {event['val_loss']:.4f} {known}")

    def _on_train_end(self, event: dict[str, Any]) -> None:
        self._print(describe_end(event))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, line: str) -> None:
        (self._bar.console if self._bar is not None else self._console).print(line)


def describe_end(event: dict[str, Any]) -> str:
    """Returns a line that says which weights the model has at the end, for a `train_end` event."""
    summary, step = event["summary"], event["step"]
    best, folder = summary["best_step"], event["best_checkpoint"]
    whose = {
        "last": f"of the last step, {step:,}",
        "best": f"of the best step, {best}",
        "callback": "those that a callback set at the end",
    }[summary["weights"]]
    line = f"the model's weights are {whose}"
    if best is None:
        measured = "no finite held-out loss was measured" if event["has_held_out"] else "nothing was held out"
        return f"{line}; {measured}"
    if summary["weights"] == "best":
        return f"{line} of {step:,} (held-out loss {summary['best_val_loss']:.4f})"
    line += f"; the lowest held-out loss, {summary['best_val_loss']:.4f}, was at step {best:,}"
    if best == step:
        return line
    if folder is None:
        return f"{line}, whose weights were not saved; restore_best=True (--restore-best) would save them"
    return f"{line}, in {folder}; resume with restore_best=True (--resume --restore-best) to get its weights"
