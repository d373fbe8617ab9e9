"""The last lines of a run: how long it took, which weights the model has, and where everything is."""

from __future__ import annotations

from typing import Any

from highnoon.files.duration import duration_text


def describe_end(event: dict[str, Any]) -> list[str]:
    """Returns the lines of a `train_end` event."""
    summary, step = event["summary"], event["step"]
    tokens = f" and {summary['total_tokens']:,.0f} tokens" if summary["total_tokens"] else ""
    lines = [
        f"training ended after {duration_text(event['seconds'])}: {step:,} steps{tokens} in all",
        _describe_weights(event),
    ]
    folders = {"checkpoints": event["checkpoint_dir"], "logs": event["log_dir"]}
    written = [f"{name} in {folder}" for name, folder in folders.items() if folder is not None]
    return [*lines, ", ".join(written)] if written else lines


def _describe_weights(event: dict[str, Any]) -> str:
    """Returns a line that says which weights the model has now, and where the best are."""
    summary, step, folder = event["summary"], event["step"], event["best_checkpoint"]
    best, weights = summary["best_step"], summary["weights"]
    last = f"step {step:,}, the last" if weights != "best" or best == step else f"step {best:,}"
    line = f"the model now has the weights of {last}"
    if weights == "callback":
        line = "the model now has the weights that a callback set at the end"
    if best is None:
        measured = "no finite held-out loss was measured" if event["has_held_out"] else "nothing was held out"
        return f"{line}; {measured}"
    loss, bits = f"{summary['best_val_loss']:.4f}", summary["best_bits_per_byte"]
    per_byte = None if bits is None else f"{bits:.3f} bits per byte"
    if weights == "best":
        return f"{line} (lowest held-out loss, {loss}{f'; {per_byte}' if per_byte else ''})"
    loss += f" ({per_byte})" if per_byte else ""
    line += f"; the lowest held-out loss, {loss}, was at step {best:,}"
    if best == step:
        return line
    if folder is None:
        return f"{line}, whose weights were not saved; restore_best=True (--restore-best) would save them"
    return f"{line}, in {folder}; resume with restore_best=True (--resume --restore-best) to get its weights"
