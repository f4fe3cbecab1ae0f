"""Tables of text: aligned for people, Markdown for documents, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

Row = Sequence[str]


def align(rows: Iterable[Row], indent: str = "") -> list[str]:
    """Return the rows as lines whose columns stand under each other."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [indent + "  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def to_markdown(header: Row, rows: Iterable[Row]) -> list[str]:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines]


def to_csv(header: Row, rows: Iterable[Row]) -> str:
    """Return comma-separated values, as RFC 4180 has them but for the line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")
