"""Shows a run in another terminal: its progress, its metrics with their curves, and alerts.

  highnoon monitor
  highnoon monitor my-run --once --plot --export metrics.csv
  highnoon monitor my-run --once --export metrics.csv --names hatching
  highnoon monitor baseline --rule "train/grad_norm > 50 for 3"

RUN is the folder of a run or of its logs, or the `run_name` of a run. Without it, the newest run is shown
that has its logs in `logs`, or in the `logs` of a folder here or in `runs`. The page is live until the run
ends or Ctrl-C; if the output is not a terminal it is printed once. Of several runs the one written last is
shown. The monitor only reads: start and stop it at any time.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import time
from typing import TYPE_CHECKING

from highnoon.config import ConfigError, require_number, require_path

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from highnoon.monitoring.views.run_view import RunView

SUMMARY = "watch a running or ended training in the terminal"
ANSWERS_SIGNALS = True
ANSWERS_SIGNALS = True
_LONGEST_WAIT = 86_400.0
_PLAIN_WIDTH = 110


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", metavar="RUN", help="folder or name of a run (default: the newest here)"
    )
    parser.add_argument("--log-dir", metavar="DIR", help="folder of a run or of runs, to look for RUN in")
    parser.add_argument("--once", action="store_true", help="print one page and exit")
    parser.add_argument(
        "--refresh",
        type=float,
        default=5.0,
        metavar="S",
        help="seconds between updates (default 5)",
    )
    parser.add_argument(
        "--plot",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="write metrics.png next to the metrics file, at the start and the end (needs highnoon[plots])",
    )
    parser.add_argument(
        "--export",
        metavar="FILE",
        help="write log points and evaluations as CSV, at the start and at the end",
    )
    parser.add_argument(
        "--names",
        choices=("highnoon", "hatching"),
        help="names of the metrics in --export: highnoon's (default), or the Dragon Hatching guide's, such "
        "as train_loss",
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="RULE",
        help='one more alert rule, such as "train/loss > 4 for 3"; may be given again',
    )
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")


def run(arguments: argparse.Namespace) -> None:
    from highnoon.files.terminal_console import TerminalConsole
    from highnoon.monitoring import parse_rule

    require_number("--refresh", arguments.refresh, above=0)
    for name, path in (("RUN", arguments.run), ("--log-dir", arguments.log_dir)):
        if path is not None:
            require_path(name, path)
    if arguments.export is not None:
        require_path("--export", arguments.export)
    elif arguments.names is not None:
        raise ConfigError("--names is for --export FILE; give it too")
    for rule in arguments.rule:
        parse_rule(rule)
    console = TerminalConsole()
    is_live = console.is_terminal and not arguments.once
    runs = _wait_for_runs(arguments, console) if is_live else _find_runs(arguments, is_required=True)
    path = runs[0]
    if arguments.export is not None:
        _require_other_file(path, arguments.export)
    note = f"{path}" + (f", the last written of {len(runs)} runs" if len(runs) > 1 else "")
    view = _open(path, arguments)
    _write_files(view, arguments)
    if is_live and not view.is_ended:
        _show_live(view, note, arguments, console)
        _write_files(view, arguments)
    else:
        _print_page(view, note, arguments, console)
    for written in _file_names(view, arguments):
        print(f"wrote {written}")


def _require_other_file(metrics: pathlib.Path, export: str) -> None:
    if os.path.exists(export) and os.path.samefile(metrics, export):
        raise ConfigError(f"`--export` must not name the run's own metrics file; received {export}")


def _open(path: pathlib.Path, arguments: argparse.Namespace) -> RunView:
    from highnoon.monitoring.views.run_view import RunView

    view = RunView(path, arguments.rule)
    view.update()
    return view


def _find_runs(arguments: argparse.Namespace, *, is_required: bool) -> list[pathlib.Path]:
    """Returns the metrics files that the arguments name, the last written first.

    Raises:
        FileNotFoundError: If one is required and there is none, or no run has the name.
    """
    from highnoon.monitoring.metrics import find_run

    name, folder = arguments.run, arguments.log_dir
    if name is not None and folder is None and os.path.exists(name):
        name, folder = None, name
    runs = find_run.find_runs_nearby() if folder is None else find_run.find_runs(folder)
    if name is not None:
        return find_run.require_run_named(name, runs)
    if is_required and not runs:
        find_run.require_run("logs" if folder is None else folder)
    return runs


def _wait_for_runs(arguments: argparse.Namespace, console: Console) -> list[pathlib.Path]:
    from highnoon.files.terminal_console import plain_text

    runs = _find_runs(arguments, is_required=False)
    if not runs:
        folder = arguments.run or arguments.log_dir or "logs"
        waiting = plain_text(f"waiting for a run in {folder}; Ctrl-C ends")
        with console.status(waiting, spinner="line"):
            while not (runs := _find_runs(arguments, is_required=False)):
                time.sleep(min(arguments.refresh, _LONGEST_WAIT))
    return runs


def _show_live(view: RunView, note: str, arguments: argparse.Namespace, console: Console) -> None:
    from rich.live import Live

    with Live(_page(view, note, arguments, console), console=console, auto_refresh=False) as live:
        while not view.is_ended:
            time.sleep(min(arguments.refresh, _LONGEST_WAIT))
            view.update()
            live.update(_page(view, note, arguments, console), refresh=True)


def _print_page(view: RunView, note: str, arguments: argparse.Namespace, console: Console) -> None:
    from highnoon.monitoring.views.run_page import page_text

    if console.is_terminal:
        console.print(_page(view, note, arguments, console))
    else:
        width = max(console.width, _PLAIN_WIDTH)
        print(page_text(view, note, width=width, is_ascii=_is_ascii(arguments, console)))


def _page(view: RunView, note: str, arguments: argparse.Namespace, console: Console) -> RenderableType:
    """Returns the page for a terminal; in ASCII without colors."""
    from rich.text import Text

    from highnoon.monitoring.views.run_page import page_text, run_page

    if _is_ascii(arguments, console):
        return Text(page_text(view, note, width=console.width, is_ascii=True))
    return run_page(view, note)


def _is_ascii(arguments: argparse.Namespace, console: Console) -> bool:
    return arguments.ascii or console.options.ascii_only


def _write_files(view: RunView, arguments: argparse.Namespace) -> None:
    if arguments.export is not None:
        from highnoon.monitoring.metrics.export_csv import export_csv

        export_csv(view.lines(), arguments.export, arguments.names or "highnoon")
    if arguments.plot and view.series:
        from highnoon.monitoring.views.plot_run import plot_run

        plot_run(view.series, _plot_path(view))


def _file_names(view: RunView, arguments: argparse.Namespace) -> list[str]:
    return [
        *([str(_plot_path(view))] if arguments.plot and view.series else []),
        *([] if arguments.export is None else [arguments.export]),
    ]


def _plot_path(view: RunView) -> pathlib.Path:
    return view.path.with_name("metrics.png")
