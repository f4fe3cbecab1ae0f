"""The command `allowlist-middleware`: what an application's operations do, whether that is sound, and why a call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote

import anyio
import click

from allowlist_middleware.audit import Judged, judge_operations
from allowlist_middleware.entries import find_holding
from allowlist_middleware.errors import AllowListError
from allowlist_middleware.explain import Judgement, explain, from_address, make_call
from allowlist_middleware.explanations import judgement_to_values
from allowlist_middleware.findings import compare, find_findings
from allowlist_middleware.listing import Decider, Listed, find_decider, find_lists
from allowlist_middleware.loading import Unusable, describe_error, load_app
from allowlist_middleware.middleware import AllowListMiddleware
from allowlist_middleware.options import parse_address, parse_header, read_description, takes_app, takes_format
from allowlist_middleware.proxies import UNIX
from allowlist_middleware.reachable import WEBSOCKET
from allowlist_middleware.reports import (
    list_to_values,
    name_application,
    to_values,
    write_csv,
    write_lists,
    write_markdown,
)
from allowlist_middleware.screen import show, show_findings, show_json, show_judgements, show_operations
from allowlist_middleware.sources.memory import parse_client_id
from allowlist_middleware.stations import Station

PROGRAM = "allowlist-middleware"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command; what goes wrong is one line on standard error and exit code 2."""
    try:
        code = commands.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        _fail(error.format_message())
    except click.Abort:
        _fail("interrupted")
    except click.ClickException as error:
        _fail(f"{PROGRAM}: {' '.join(error.format_message().split())}")
    except (Unusable, AllowListError, TypeError) as error:
        _fail(f"{PROGRAM}: {' '.join(str(error).split())}")
    except Exception as error:  # noqa: BLE001 - whatever the application's own code raises when it is asked
        _fail(f"{PROGRAM}: {describe_error(error)}")
    raise SystemExit(code or 0)


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    raise SystemExit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="allowlist_middleware", prog_name=PROGRAM)
def commands() -> None:
    """Tell what an application does with the allow lists of its API clients; APP is `module:app`, as for uvicorn."""


@commands.command("operations")
@takes_format("json", "markdown", "csv")
@takes_app
def list_operations(app: str, app_dir: str, form: str, *, factory: bool) -> None:
    """Print every operation: whether it respects the allow list, and what says so."""
    loaded = load_app(app, app_dir=app_dir, factory=factory)
    judged = list(judge_operations(loaded))
    answers = [one.answer for one in judged]
    if form == "csv":
        show(write_csv(answers))
    elif form == "markdown":
        show("\n".join(write_markdown(answers)).rstrip())
    elif form == "json":
        deciders = anyio.run(_find_deciders, judged)
        show_json({"middleware": [one._asdict() for one in deciders], "operations": to_values(answers)})
    else:
        show_operations(anyio.run(_find_deciders, judged), answers)


@commands.command("check")
@click.option("--accept", multiple=True, metavar="NAME", help="Accept a finding by its name, or all of a kind.")
@click.option("--against", type=click.File("rb"), metavar="FILE", help="Compare with this OpenAPI description (JSON).")
@takes_format("json")
@takes_app
def check(app: str, app_dir: str, form: str, accept: Sequence[str], against: Any, *, factory: bool) -> int:
    """Exit with 1 if an operation is not annotated, cannot be looked into, or is not enforced."""
    loaded = load_app(app, app_dir=app_dir, factory=factory)
    judged = list(judge_operations(loaded))
    findings = list(find_findings(judged, _find_middlewares(judged)))
    if against is not None:
        findings += compare(judged, read_description(against))
    open_ones = [one for one in findings if one.name not in accept and one.kind not in accept]
    if form == "json":
        values = [{"name": one.name, "advice": one.advice, "accepted": one not in open_ones} for one in findings]
        show_json({"sound": not open_ones, "findings": values})
    else:
        show_findings(findings, open_ones, len(judged))
    for name in accept:
        if name not in {text for one in findings for text in (one.name, one.kind)}:
            click.echo(f"{PROGRAM}: nothing to accept by the name {name!r}", err=True)
    return 1 if open_ones else 0


@commands.command("explain")
@click.option("--client", metavar="ID", help="The API client, by its id.")
@click.option("--address", metavar="ADDRESS", help="The address the call comes from, whatever proxies it passes.")
@click.option("--peer", metavar="ADDRESS", help="The other end of the connection, 'unix:' for a Unix socket.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header line; may be repeated.")
@takes_format("json")
@takes_app
@click.argument("method", metavar="METHOD")
@click.argument("path", metavar="PATH")
def explain_call(
    app: str,
    method: str,
    path: str,
    app_dir: str,
    form: str,
    client: str | None,
    address: str | None,
    peer: str | None,
    headers: Sequence[str],
    *,
    factory: bool,
) -> int:
    """Exit with 0 if a call is allowed and 1 if it is denied, and print why; METHOD may be WEBSOCKET."""
    if (address is None) == (peer is None):
        raise click.UsageError("write one of --address and --peer")
    if not path.startswith("/"):
        raise click.UsageError(f"{path!r} is not a path; write '/{path}'")
    loaded = load_app(app, app_dir=app_dir, factory=factory)
    client = None if client is None else parse_client_id(client)
    path, _, query = path.partition("?")
    peer = peer if peer is None or peer == UNIX else parse_address("--peer", peer)
    call = make_call(method, unquote(path), client_id=client, peer=peer, headers=[parse_header(one) for one in headers])
    call["query_string"] = query.encode()
    if address is not None:
        call = from_address(loaded, call, parse_address("--address", address))
    judgements = anyio.run(explain, loaded, call)
    _require_operation(app, method, path, judgements)
    last = judgements[-1].decision
    if form == "json":
        values = [judgement_to_values(one) for one in judgements]
        show_json({"allowed": last.allowed, "reason": str(last.reason), "judgements": values})
    else:
        show_judgements(judgements)
    if client is not None and last.client_id is None:
        click.echo(
            f"{PROGRAM}: identify_client does not take Basic credentials; send what it takes by --header", err=True
        )
    return 0 if last.allowed else 1


@commands.command("lists")
@click.option("--client", metavar="ID", help="Only this client.")
@click.option("--address", metavar="ADDRESS", help="Only clients that may call from this address.")
@takes_format("json")
@takes_app
def show_lists(app: str, app_dir: str, form: str, client: str | None, address: str | None, *, factory: bool) -> int:
    """Print who may call from where; exit with 1 if no list is found."""
    loaded = load_app(app, app_dir=app_dir, factory=factory)
    middlewares = _find_middlewares(judge_operations(loaded))
    if not middlewares:
        raise Unusable(f"{app}: no AllowListMiddleware in it, so there are no lists")
    asked = None if address is None else parse_address("--address", address)
    listed = anyio.run(find_lists, middlewares, client)
    found = [(one, () if asked is None else _find_holding(one, asked)) for one in listed]
    if asked is not None:
        found = [(one, holding) for one, holding in found if holding]
    if form == "json":
        show_json({"lists": [list_to_values(one, holding) for one, holding in found]})
    elif found:
        for line in write_lists(found, in_full=client is not None):
            show(line)
    return 0 if any(one.allow_list is not None for one, _ in found) else 1


# ── What the commands share ──────────────────────────────────────────────────────────────────────────────────────────


def _find_stations(judged: Iterable[Judged]) -> list[Station]:
    """Return every middleware that was seen, each once."""
    return list({id(station.middleware): station for one in judged for station in one.stations}.values())


def _find_middlewares(judged: Iterable[Judged]) -> list[AllowListMiddleware]:
    return [station.middleware for station in _find_stations(judged)]


async def _find_deciders(judged: Iterable[Judged]) -> list[Decider]:
    return [
        await find_decider(middleware, "AllowListMiddleware" if app is None else name_application(app))
        for middleware, app, _ in _find_stations(judged)
    ]


def _find_holding(listed: Listed, address: str) -> Sequence[str]:
    if listed.allow_list is None or address not in listed.allow_list:
        return ()
    return find_holding(listed.allow_list.entries, address) or ("anywhere",)


def _require_operation(app: str, method: str, path: str, judgements: Sequence[Judgement]) -> None:
    if not judgements[-1].is_served:
        what = "handshake" if method.upper() == WEBSOCKET else "call"
        raise Unusable(f"{app}: no operation serves {method} {path}: the framework answers the {what} itself")
