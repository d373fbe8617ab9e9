"""Prints a cleaning report as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from highnoon.files.terminal_console import TerminalConsole, plain_text


def print_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints a report of `CleanedSource.report`, one line for each step and reason.

    Args:
        report: The report.
        console: Where to print; None uses the standard output.
    """
    table = Table("step", "reason", title=plain_text(f"Cleaning of {report['source']}"), title_justify="left")
    for heading in ("documents", "fraction", "bytes"):
        table.add_column(heading, justify="right")
    table.add_column("examples")
    total = max(report["read"]["documents"], 1)

    def add(step: str, reason: str, found: Mapping[str, Any]) -> None:
        names = ", ".join(f"{example['source']}:{example['id']}" for example in found.get("examples", ()))
        table.add_row(
            plain_text(step),
            plain_text(reason),
            f"{found['documents']:,}",
            f"{found['documents'] / total:.2%}",
            f"{found['bytes']:,}",
            plain_text(names),
        )

    add("read", "", report["read"])
    for step in report["steps"]:
        entries = [
            (f"{word}{reason}", found)
            for word, kind in (("", "dropped"), ("changed: ", "changed"))
            for reason, found in step[kind].items()
        ]
        for reason, found in entries or [("nothing", {"documents": 0, "bytes": 0})]:
            add(step["step"], reason, found)
    add("kept", "", report["kept"])
    (console or TerminalConsole()).print(table)
