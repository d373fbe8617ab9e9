"""A run as a page of text."""

from __future__ import annotations

import io
import math
import time

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from highnoon.files.duration import whole_duration_text
from highnoon.files.terminal_console import TerminalConsole, plain_text
from highnoon.monitoring.alert import SEVERITIES, Alert
from highnoon.monitoring.metrics.metric_names import format_metric, in_order, metric_of
from highnoon.monitoring.views.run_view import RunView
from highnoon.monitoring.views.sparkline import sparkline

SILENT_SECONDS = 300
_SHOWN_ALERTS = 6
_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_MARKS = {"critical": ("!!", "✖"), "warning": ("!", "▲"), "info": ("i", "●")}
_BAR_WIDTH = 40
_SHOWN_METRICS = 100
_SHOWN_CHARACTERS = 1000


def run_page(
    view: RunView, note: str = "", *, is_ascii: bool = False, now: float | None = None
) -> RenderableType:
    """Returns the page: progress, alerts, and metrics with their curves.

    Args:
        view: The run.
        note: A line below the heading, such as which of several runs this is.
        is_ascii: Whether to use only ASCII characters.
        now: Seconds since the epoch; None uses the clock.
    """
    now = time.time() if now is None else now
    parts: list[RenderableType] = [_heading(view, now, is_ascii)]
    if note:
        parts.append(plain_text(note, "dim"))
    parts += [plain_text(line, "yellow") for line in view.notes]
    parts += [Text(), _alerts(view, is_ascii), Text(), _figures(view, is_ascii)]
    return Group(*parts)


def page_text(
    view: RunView, note: str = "", *, width: int = 110, is_ascii: bool = False, now: float | None = None
) -> str:
    """Returns the page as plain text with at most `width` columns, see `run_page`."""
    console = TerminalConsole(file=io.StringIO(), width=width)
    console.print(run_page(view, note, is_ascii=is_ascii, now=now))
    page = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined]
    return page.encode("ascii", "replace").decode() if is_ascii else page


def _heading(view: RunView, now: float, is_ascii: bool) -> Text:
    heading = plain_text(view.path.parent.name or view.path, "bold")
    if view.stage is not None:
        heading.append_text(plain_text(f"  stage {_shortened(view.stage)}"))
    heading.append(f"  {_status(view, now)}\n")
    if view.total_steps:
        done = min(view.step / view.total_steps, 1.0)
        full, empty = ("#", "-") if is_ascii else ("━", "─")
        bar = round(done * _BAR_WIDTH)
        heading.append(full * bar, style="green").append(empty * (_BAR_WIDTH - bar), style="dim")
        heading.append(f"  step {view.step:,} of {view.total_steps:,} ({done:.0%})", style="not bold")
    else:
        heading.append(f"step {view.step:,}", style="not bold")
    seconds = view.seconds_left()
    if seconds is not None:
        heading.append(f"  {whole_duration_text(int(seconds))} left", style="not bold")
    return heading


def _status(view: RunView, now: float) -> str:
    if view.is_ended:
        return "ended"
    if view.last_time is None:
        return "running"
    silent = now - view.last_time
    return f"no news for {whole_duration_text(int(silent))}" if silent > SILENT_SECONDS else "running"


def _figures(view: RunView, is_ascii: bool) -> RenderableType:
    names = in_order(view.series)
    if not names:
        return Text("no log point yet", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("metric", overflow="fold")
    table.add_column("now", justify="right", no_wrap=True)
    table.add_column("lowest", justify="right", no_wrap=True)
    table.add_column("highest", justify="right", no_wrap=True)
    table.add_column("from the first to the last point", no_wrap=True)
    for name in names[:_SHOWN_METRICS]:
        values = [value for _, value in view.series[name]]
        finite = [value for value in values if math.isfinite(value)] or values
        metric = metric_of(name)
        table.add_row(
            _shortened(metric.label if metric else name),
            format_metric(name, values[-1]),
            format_metric(name, min(finite)),
            format_metric(name, max(finite)),
            sparkline(values, is_ascii=is_ascii, is_logarithmic=bool(metric and metric.is_logarithmic)),
        )
    if len(names) > _SHOWN_METRICS:
        table.add_row(f"not shown: {len(names) - _SHOWN_METRICS} more")
    return Group(Text(_whose_figures(view), style="dim"), table) if _whose_figures(view) else table


def _whose_figures(view: RunView) -> str:
    """Returns of which step the figures are, where the last log point is older than the step shown."""
    log, evaluation = view.last_steps.get("log"), view.last_steps.get("evaluation", -1)
    if log is None or log >= view.step:
        return ""
    held_out = f"; held-out figures of step {evaluation:,}" if evaluation > log else ""
    return f"figures of step {log:,}, the last log point{held_out}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _alerts(view: RunView, is_ascii: bool) -> RenderableType:
    if not view.alerts:
        return Text("no alerts", style="green")
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    alerts = sorted(view.alerts, key=lambda alert: _rank(view, alert))
    for alert in alerts[:_SHOWN_ALERTS]:
        mark = _MARKS.get(alert.severity, ("?", "?"))[0 if is_ascii else 1]
        over = ", over" if view.is_over(alert) else ""
        rule, message = _shortened(alert.rule), _shortened(alert.message)
        text = plain_text(f"step {alert.step:,}, {rule}{over}: {message}\n")
        text.append_text(plain_text(_shortened(alert.advice), "dim"))
        table.add_row(plain_text(f"{mark} {alert.severity[:20]}", _STYLES.get(alert.severity, "")), text)
    if len(alerts) > _SHOWN_ALERTS:
        table.add_row("", Text(f"not shown: {len(alerts) - _SHOWN_ALERTS} more", style="dim"))
    return table


def _rank(view: RunView, alert: Alert) -> tuple[bool, int, int]:
    """Returns a sort key: active alerts before cleared ones, then by severity, then the latest first."""
    severity = SEVERITIES.index(alert.severity) if alert.severity in SEVERITIES else 0
    return view.is_over(alert), -severity, -alert.step
