"""The tables of `highnoon data stats`."""

from __future__ import annotations

from rich.table import Table

from highnoon.data.tokens.statistics import DataStatistics
from highnoon.files.terminal_console import TerminalConsole


def print_statistics(figures: DataStatistics) -> None:
    """Prints totals, lengths and domains."""
    console = TerminalConsole()
    for table in (_totals(figures), _lengths(figures), _domains(figures)):
        console.print(table)


def _totals(figures: DataStatistics) -> Table:
    table = Table("figure", "value", title=figures.name, title_justify="left")
    table.columns[1].justify = "right"
    table.add_row("documents", f"{figures.documents:,}")
    table.add_row("bytes of text", f"{figures.num_bytes:,}")
    if figures.tokens is not None:
        table.add_row("tokens", f"{figures.tokens:,}")
        table.add_row("supervised tokens", f"{figures.supervised_tokens:,}")
        table.add_row("bytes per token", f"{figures.bytes_per_token:.3f}")
    table.add_row("duplicates", f"{figures.duplicates:,} ({figures.duplicates / figures.documents:.1%})")
    return table


def _lengths(figures: DataStatistics) -> Table:
    columns = map(str, figures.lengths)
    table = Table("percentile", *columns, title="length of a document", title_justify="left")
    table.add_row("bytes", *(f"{value:,}" for value in figures.lengths.values()))
    if figures.token_lengths:
        table.add_row("tokens", *(f"{value:,}" for value in figures.token_lengths.values()))
    return table


def _domains(figures: DataStatistics) -> Table:
    columns = list(next(iter(figures.domains.values())))
    table = Table("domain", *columns, "fraction of bytes", title="domains", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, values in figures.domains.items():
        table.add_row(
            name, *(f"{values[column]:,}" for column in columns), f"{values['bytes'] / figures.num_bytes:.1%}"
        )
    return table
