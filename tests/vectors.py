"""The shared test vectors; tests/data/README.md says how to judge a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent / "data"


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8"))
    return vectors


def expand(value: str | dict[str, list[tuple[str, int]]]) -> str:
    """Return the text of a value; long ones are written as parts with their number of repeats."""
    if isinstance(value, str):
        return value
    return "".join(text * times for text, times in value["parts"])


def judge(vector: dict[str, Any], key: str, result: str | None) -> str:
    """Return `strict`, `acceptable` or `wrong`."""
    if result == vector[key]:
        return "strict"
    return "acceptable" if result in map(_expand_answer, vector.get("also_acceptable", ())) else "wrong"


def _expand_answer(answer: Any) -> str | None:
    return None if answer is None else expand(answer)
