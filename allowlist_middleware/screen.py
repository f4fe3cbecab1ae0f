"""What the commands show, with colours where a terminal shows them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import click

from allowlist_middleware.audit import Answer
from allowlist_middleware.explain import Judgement
from allowlist_middleware.explanations import write_judgement
from allowlist_middleware.findings import Finding
from allowlist_middleware.listing import Decider
from allowlist_middleware.reports import VERSION, write_operations


def show(text: str = "", **style: Any) -> None:
    """Show a line, styled unless `NO_COLOR` is set or it does not go to a terminal."""
    is_plain = not style or bool(os.environ.get("NO_COLOR"))
    click.echo(text if is_plain else click.style(text, **style))


def show_json(values: dict[str, Any]) -> None:
    """Show values as a JSON document, which carries the version of its form."""
    show(json.dumps({"version": VERSION, **values}, indent=2))


def show_operations(deciders: Sequence[Decider], answers: Sequence[Answer]) -> None:
    """Show what decides, and the table of operations."""
    if not deciders:
        show("no AllowListMiddleware: nothing is enforced")
    for decider in deciders:
        show(str(decider))
    show()
    for text, answer in write_operations(answers):
        if answer is None:
            show(text, bold=True)
        else:
            show(text, fg="green" if answer.respects else "yellow", dim=answer.origin == "nobody")


def show_findings(findings: Sequence[Finding], open_ones: Sequence[Finding], count: int) -> None:
    """Show findings, those that are not accepted in red."""
    for finding in findings:
        if finding in open_ones:
            show(str(finding), fg="red")
        else:
            show(f"accepted: {finding.name}", dim=True)
    accepted = len(findings) - len(open_ones)
    show(f"operations: {count}; findings: {len(open_ones)}; accepted: {accepted}", bold=True)


def show_judgements(judgements: Sequence[Judgement]) -> None:
    """Show judgements in the order they are made."""
    for number, judgement in enumerate(judgements):
        verdict, *lines = write_judgement(judgement)
        show("\n" * bool(number) + verdict, fg="green" if judgement.decision.allowed else "red", bold=True)
        for line in lines:
            show(line)
