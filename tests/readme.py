"""The code blocks of README.md.

As a script it prints the set-up commands, which is why it needs nothing set up; with a directory as its argument it
writes the Python code there, a module for each section.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).resolve().parent.parent / "README.md"

_HEADING = re.compile(r"#{2,3} (.+)")
_FENCE = re.compile(r"```(\w*)")
_FILE_NAME = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A fenced code block: the heading it stands under, and the number of the line its text begins at."""

    section: str
    language: str
    line: int
    text: str


def find_blocks(text: str) -> Iterator[Block]:
    """Yield the code blocks of a Markdown text in order."""
    section, start, language = "", 0, ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if fence := _FENCE.fullmatch(line):
            if start:
                yield Block(section, language, start + 1, "\n".join(lines[start:number]) + "\n")
            start, language = (0, "") if start else (number + 1, fence[1])
        elif not start and (heading := _HEADING.fullmatch(line)):
            section = heading[1]


def read_blocks() -> list[Block]:
    """Return the code blocks of the README."""
    return list(find_blocks(README.read_text(encoding="utf-8")))


def write_modules(directory: Path) -> None:
    """Write the Python code of each section as a module: under the name it is saved by, or a number."""
    for number, (_, blocks) in enumerate(groupby(read_blocks(), key=lambda block: block.section)):
        text = "\n\n".join(block.text for block in blocks if block.language == "python")
        name = _FILE_NAME.match(text)
        (directory / (name[1] if name else f"section_{number}.py")).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        write_modules(Path(argument))
    if not sys.argv[1:]:
        sys.stdout.writelines(block.text for block in read_blocks() if block.language == "sh")
