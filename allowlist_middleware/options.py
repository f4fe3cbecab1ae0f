"""What the commands are given: options they share, and values that are read or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from allowlist_middleware.networks import find_packed, format_packed

Command = TypeVar("Command", bound=Callable[..., Any])


def takes_app(command: Command) -> Command:
    """Add what names the application, as uvicorn has it."""
    for add in (
        click.option("--app-dir", default="", metavar="DIR", help="Look for the module in this directory, not here."),
        click.option("--factory", is_flag=True, help="APP is a function that returns the application."),
        click.argument("app", metavar="APP"),
    ):
        command = add(command)
    return command


def takes_format(*formats: str) -> Callable[[Command], Command]:
    """Add the choice among text and other formats."""
    return click.option("--format", "form", type=click.Choice(("text", *formats)), default="text", show_default=True)


def parse_address(option: str, text: str) -> str:
    """Return an address in canonical text."""
    packed = find_packed(text)
    if packed is None:
        raise click.UsageError(f"{option}: {text!r} is not an address; write one such as 192.0.2.1 or 2001:db8::1")
    return format_packed(packed)


def parse_header(line: str) -> tuple[str, str]:
    """Return the name and the value of a header line."""
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"--header: {line!r} is not 'Name: value'")
    if not line.isascii():
        raise click.UsageError(f"--header: {line!r} is not ASCII; send it percent-encoded, as clients do")
    return name.strip(), value.strip()


def read_description(file: Any) -> dict[str, Any]:
    """Return the OpenAPI description in a file."""
    try:
        document = json.load(file)
    except ValueError as error:
        raise click.UsageError(f"--against: {file.name}: it is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise click.UsageError(f"--against: {file.name}: it is not an OpenAPI description: it has no 'paths'")
    return document
