"""Every mistake in the configuration raises where it is written, and its message says where, what and what to write."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from allowlist_middleware import (
    ANYWHERE,
    AllowList,
    AllowListError,
    AllowListMiddleware,
    AllowLists,
    Decision,
    respects_allow_list,
)
from allowlist_middleware.errors import quote


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def install(*args: Any, **options: Any) -> AllowListMiddleware:
    """Make the middleware as an application does, every option a valid one unless it is given."""
    return AllowListMiddleware(*(args or (app,)), **{"allow_lists": {}, **options})


def listed(*entries: Any) -> AllowLists:
    return AllowLists({"acme": entries})


def set_on(lists: AllowLists, client_id: Any, entries: Any) -> None:
    lists[client_id] = entries


async def endpoint(request: Request) -> Any: ...


class Application:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Frozen:
    __slots__ = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class PlainSource:
    def allow_list(self, client_id: str) -> Any: ...


class PlainLists(AllowLists):
    def allow_list(self, client_id: str) -> Any: ...


class Source:
    async def allow_list(self, client_id: str) -> Any: ...


class GeneratorSource:
    async def allow_list(self, client_id: str) -> AsyncIterator[AllowList]:
        yield ANYWHERE  # pragma: no cover - nobody iterates it


class TwoArguments:
    async def allow_list(self, client_id: str, realm: str) -> Any: ...


class NotCallableSource:
    allow_list = ANYWHERE


class Secretive:
    """An object whose repr holds a secret, as that of a settings object may."""

    def __repr__(self) -> str:
        raise AssertionError("s3cret")  # pragma: no cover - nobody may ask


async def asynchronous(argument: Any) -> Any: ...


def generator(argument: Any) -> Iterator[Any]:
    yield argument  # pragma: no cover - nobody iterates it


async def asynchronous_generator(argument: Any) -> AsyncIterator[Any]:
    yield argument  # pragma: no cover - nobody iterates it


class AsynchronousCall:
    async def __call__(self, decision: Decision) -> Any: ...


def two_arguments(one: Any, other: Any = ..., *, key: str = "s3cret", needed: Any) -> Any: ...


def no_argument() -> None: ...


def annotated_twice(first: Any, second: Any, target: Any) -> None:
    second(first(target))


# Untyped, because a type checker finds many of the mistakes below.
make: Any = AllowListMiddleware
lists: Any = AllowLists
allow_list: Any = AllowList
mark: Any = respects_allow_list
yes, no = mark(True), mark(False)

# What many messages end with.
SOURCE = (
    " is neither a mapping nor a source; write AllowLists({'acme': ['192.0.2.0/24']}), or an object "
    "with async def allow_list(self, client_id)"
)
LOOK_UP = "; write async def allow_list(self, client_id)"
LIST = " is not a list of entries; write one, such as ['192.0.2.0/24']"
MAPPING = " is not a mapping; write {'acme': ['192.0.2.0/24']}, by client id"
ENTRY = (
    " is not text; write an address, a network or a range, such as '192.0.2.7', '192.0.2.0/24' or '192.0.2.1-192.0.2.9'"
)
HOST_BITS = "'10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'"
HEADER = "; write 'X-Forwarded-For', 'Forwarded' or a header that carries exactly one address, such as 'X-Real-IP'"
IDENTIFY = "; write identify_client(connection) returning a client id or None"
DENIAL = "; write denial(decision) returning a Response"
PLAIN_DENIAL = "; write a plain function, denial(decision) returning a Response"
MARK = " is neither True nor False; write @respects_allow_list(True) or @respects_allow_list(False)"
BOOL = " is neither True nor False; write one of the two"
GROUP = (
    " is neither an endpoint nor a group; annotate the endpoint function or class, the route, mount,"
    " router or application"
)
SHARED = " is shared by everything that uses the framework; annotate your own class or object instead"

MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # --- allow_lists
    (lambda: install(allow_lists=["192.0.2.0/24"]), TypeError, "allow_lists: ['192.0.2.0/24']" + SOURCE),
    (lambda: install(allow_lists="lists.json"), TypeError, "allow_lists: 'lists.json'" + SOURCE),
    (
        lambda: install(allow_lists="redis://user:s3cret@203.0.113.1/0"),
        TypeError,
        "allow_lists: 'redis://user:...@203.0.113.1/0'" + SOURCE,
    ),
    (lambda: install(allow_lists=None), TypeError, "allow_lists: None" + SOURCE),
    (lambda: install(allow_lists=5), TypeError, "allow_lists: 5" + SOURCE),
    (lambda: install(allow_lists=True), TypeError, "allow_lists: True" + SOURCE),
    (lambda: install(allow_lists=AllowLists), TypeError, "allow_lists: the class AllowLists" + SOURCE),
    (lambda: install(allow_lists=Source), TypeError, "allow_lists: the class Source" + SOURCE),
    (
        lambda: install(allow_lists=allow_list(["192.0.2.1"])),
        TypeError,
        "allow_lists: one AllowList names no client; write AllowLists(others=...) if all share it",
    ),
    (
        lambda: install(allow_lists=ANYWHERE),
        TypeError,
        "allow_lists: one AllowList names no client; write AllowLists(others=...) if all share it",
    ),
    (lambda: install(allow_lists=Secretive()), TypeError, "allow_lists: a Secretive" + SOURCE),
    (
        lambda: install(allow_lists=PlainSource()),
        TypeError,
        "allow_lists: PlainSource.allow_list is not async" + LOOK_UP,
    ),
    (lambda: install(allow_lists=PlainLists()), TypeError, "allow_lists: PlainLists.allow_list is not async" + LOOK_UP),
    (
        lambda: install(allow_lists=GeneratorSource()),
        TypeError,
        "allow_lists: GeneratorSource.allow_list is a generator, which nobody would run" + LOOK_UP,
    ),
    (
        lambda: install(allow_lists=TwoArguments()),
        TypeError,
        (
            "allow_lists: TwoArguments.allow_list cannot be called with one argument (missing a required "
            "argument: 'realm')"
        )
        + LOOK_UP,
    ),
    (
        lambda: install(allow_lists=NotCallableSource()),
        TypeError,
        "allow_lists: an AllowList is not a function" + LOOK_UP,
    ),
    (
        lambda: make(app),
        TypeError,
        "AllowListMiddleware.__init__() missing 1 required keyword-only argument: 'allow_lists'",
    ),
    (
        lambda: install(realm="api"),
        TypeError,
        "AllowListMiddleware.__init__() got an unexpected keyword argument 'realm'",
    ),
    (lambda: make(app, {}), TypeError, "AllowListMiddleware.__init__() takes 2 positional arguments but 3 were given"),
    (lambda: install(None), TypeError, "app: None is not an ASGI application; write AllowListMiddleware(app, ...)"),
    (
        lambda: install("main:app"),
        TypeError,
        "app: 'main:app' is not an ASGI application; write AllowListMiddleware(app, ...)",
    ),
    # --- a client's list
    (
        lambda: install(allow_lists={"acme": "192.0.2.0/24"}),
        TypeError,
        "client 'acme': '192.0.2.0/24' is text; write ['192.0.2.0/24']",
    ),
    (lambda: lists({"acme": "*"}), TypeError, "client 'acme': '*' is text; write ANYWHERE"),
    (
        lambda: lists({"acme": "192.0.2.1, 192.0.2.2"}),
        TypeError,
        "client 'acme': '192.0.2.1, 192.0.2.2' is text; write ['192.0.2.1', '192.0.2.2']",
    ),
    (lambda: lists({"partner": None}), TypeError, "client 'partner': None is ambiguous; write ANYWHERE or []"),
    (lambda: lists({"acme": True}), TypeError, "client 'acme': True" + LIST),
    (lambda: lists({"acme": 5}), TypeError, "client 'acme': 5" + LIST),
    (lambda: lists({"acme": b"192.0.2.1"}), TypeError, "client 'acme': b'192.0.2.1'" + LIST),
    (lambda: lists({"acme": {"192.0.2.1": "office"}}), TypeError, "client 'acme': {'192.0.2.1': 'office'}" + LIST),
    (lambda: listed("10.0.0.1/8"), AllowListError, "client 'acme': " + HOST_BITS),
    (
        lambda: listed("192.0.2.0/255.255.255.0"),
        AllowListError,
        ("client 'acme': '192.0.2.0/255.255.255.0' has a mask in place of a prefix length; write '192.0.2.0/24'"),
    ),
    (lambda: listed("192.0.2.*"), AllowListError, "client 'acme': '192.0.2.*' has a wildcard; write '192.0.2.0/24'"),
    (
        lambda: listed("*"),
        AllowListError,
        "client 'acme': '*' is not an address or a network; write ANYWHERE in place of the list",
    ),
    (
        lambda: listed(""),
        AllowListError,
        (
            "client 'acme': '' is not an address, a network or a range; write one such as '192.0.2.7', "
            "'192.0.2.0/24' or '192.0.2.1-192.0.2.9'"
        ),
    ),
    (lambda: listed(" 192.0.2.1"), AllowListError, "client 'acme': ' 192.0.2.1' has white space; write '192.0.2.1'"),
    (
        lambda: listed("192.0.2.9-192.0.2.1"),
        AllowListError,
        "client 'acme': '192.0.2.9-192.0.2.1' is reversed; write '192.0.2.1-192.0.2.9'",
    ),
    (
        lambda: listed("192.0.2.1-2001:db8::1"),
        AllowListError,
        (
            "client 'acme': '192.0.2.1-2001:db8::1' does not join two addresses of one family; write the "
            "first and the last, as '192.0.2.1-192.0.2.9'"
        ),
    ),
    (
        lambda: listed("office.example"),
        AllowListError,
        ("client 'acme': 'office.example' is a name, and names are not looked up; write the addresses it stands for"),
    ),
    (
        lambda: listed(ip_network("192.0.2.0/24")),
        AllowListError,
        "client 'acme': IPv4Network('192.0.2.0/24') is not text; write '192.0.2.0/24'",
    ),
    (lambda: listed(3221225985), AllowListError, "client 'acme': 3221225985" + ENTRY),
    (lambda: listed(None), AllowListError, "client 'acme': None" + ENTRY),
    (lambda: listed(["192.0.2.1"]), AllowListError, "client 'acme': ['192.0.2.1']" + ENTRY),
    (
        lambda: listed("192.0.2.0/33"),
        AllowListError,
        ("client 'acme': '192.0.2.0/33' has no prefix length from 0 to 32; write '192.0.2.0/32' if it is one address"),
    ),
    (
        lambda: listed("192.0.2.010"),
        AllowListError,
        (
            "client 'acme': '192.0.2.010' has leading zeros, which some read as octal; write decimal numbers"
            " without them"
        ),
    ),
    (lambda: lists(others="192.0.2.1"), TypeError, "others: '192.0.2.1' is text; write ['192.0.2.1']"),
    (lambda: lists(others=True), TypeError, "others: True" + LIST),
    (lambda: lists(others=["10.0.0.1/8"]), AllowListError, "others: " + HOST_BITS),
    (lambda: allow_list("192.0.2.1"), TypeError, "'192.0.2.1' is text; write ['192.0.2.1']"),
    (lambda: allow_list(None), TypeError, "None is ambiguous; write ANYWHERE or []"),
    (lambda: allow_list(["10.0.0.1/8"]), AllowListError, HOST_BITS),
    (lambda: lists(["acme"]), TypeError, "AllowLists: ['acme']" + MAPPING),
    (lambda: lists(None), TypeError, "AllowLists: None" + MAPPING),
    (lambda: lists(acme=[]), TypeError, "AllowLists.__init__() got an unexpected keyword argument 'acme'"),
    (lambda: set_on(lists(), "acme", ["10.0.0.1/8"]), AllowListError, "client 'acme': " + HOST_BITS),
    (lambda: set_on(lists(), "acme", None), TypeError, "client 'acme': None is ambiguous; write ANYWHERE or []"),
    (lambda: lists().update([("acme", [])]), TypeError, "AllowLists: [('acme', [])]" + MAPPING),
    # --- client ids
    (
        lambda: lists({"": []}),
        AllowListError,
        "client '': a client id is not empty; write what the client sends before the colon",
    ),
    (
        lambda: lists({"acme:s3": []}),
        AllowListError,
        "client 'acme:...': a client id holds no colon, which ends it in the credentials; write 'acme'",
    ),
    (
        lambda: lists({"acme\n": []}),
        AllowListError,
        "client 'acme\\n': a client id holds no control characters (RFC 7617); write 'acme'",
    ),
    (
        lambda: lists({"acme\udc80": []}),
        AllowListError,
        "client 'acme\\udc80': a client id holds no control characters (RFC 7617); write it without them",
    ),
    (lambda: lists({b"acme": []}), TypeError, "client b'acme': a client id is text; write 'acme'"),
    (lambda: lists({5: []}), TypeError, "client 5: a client id is text; write '5'"),
    (lambda: lists({None: []}), TypeError, "client None: a client id is text; write it as the client sends it"),
    (
        lambda: lists({"a" * 500 + ":": []}),
        AllowListError,
        (
            "client 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...: a client id holds no colon, which ends it in the "
            "credentials; write 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
        ),
    ),
    # --- trusted_proxies and forwarded_header
    (
        lambda: install(trusted_proxies="*"),
        TypeError,
        "trusted_proxies: '*' is not a collection; write a list such as ['10.0.0.0/8']",
    ),
    (
        lambda: install(trusted_proxies=["*"]),
        AllowListError,
        (
            "trusted_proxies: '*' would believe a header that anybody can write; write the addresses or "
            "networks of the proxies, such as '10.0.0.0/8'"
        ),
    ),
    (
        lambda: install(trusted_proxies="10.0.0.0/8"),
        TypeError,
        "trusted_proxies: '10.0.0.0/8' is text; write ['10.0.0.0/8']",
    ),
    (lambda: install(trusted_proxies=None), TypeError, "trusted_proxies: None is ambiguous; write [] to trust nobody"),
    (
        lambda: install(trusted_proxies=1),
        TypeError,
        "trusted_proxies: 1 is not a collection; write a list such as ['10.0.0.0/8']",
    ),
    (lambda: install(trusted_proxies=["10.0.0.1/8"]), AllowListError, "trusted_proxies: " + HOST_BITS),
    (
        lambda: install(trusted_proxies=["nginx"]),
        AllowListError,
        ("trusted_proxies: 'nginx' is a name, and names are not looked up; write the addresses it stands for"),
    ),
    (
        lambda: install(trusted_proxies=["unix"]),
        AllowListError,
        "trusted_proxies: 'unix' names a socket; write 'unix:' to trust every peer on a Unix socket",
    ),
    (
        lambda: install(trusted_proxies=["/run/app.sock"]),
        AllowListError,
        ("trusted_proxies: '/run/app.sock' names a socket; write 'unix:' to trust every peer on a Unix socket"),
    ),
    (
        lambda: install(trusted_proxies=[ip_address("10.0.0.1")]),
        AllowListError,
        "trusted_proxies: IPv4Address('10.0.0.1') is not text; write '10.0.0.1'",
    ),
    (
        lambda: install(forwarded_header=""),
        AllowListError,
        "forwarded_header: '' is not the name of one header" + HEADER,
    ),
    (lambda: install(forwarded_header=None), TypeError, "forwarded_header: None is not a str" + HEADER),
    (lambda: install(forwarded_header=b"x-real-ip"), TypeError, "forwarded_header: b'x-real-ip' is not a str" + HEADER),
    (
        lambda: install(forwarded_header="X-Real-IP:"),
        AllowListError,
        "forwarded_header: 'X-Real-IP:' is not the name of one header" + HEADER,
    ),
    (
        lambda: install(forwarded_header="X-Forwarded-For, Forwarded"),
        AllowListError,
        "forwarded_header: 'X-Forwarded-For, Forwarded' is not the name of one header" + HEADER,
    ),
    (
        lambda: install(forwarded_header="HTTP_X_FORWARDED_FOR"),
        AllowListError,
        "forwarded_header: 'HTTP_X_FORWARDED_FOR' is not how the header is spelled" + HEADER,
    ),
    (
        lambda: install(forwarded_header="Host"),
        AllowListError,
        "forwarded_header: 'Host' does not carry the caller's address" + HEADER,
    ),
    (
        lambda: install(forwarded_header=["X-Forwarded-For"]),
        TypeError,
        "forwarded_header: ['X-Forwarded-For'] is not a str" + HEADER,
    ),
    # --- functions and flags
    (lambda: install(identify_client=None), TypeError, "identify_client: None is not a function" + IDENTIFY),
    (lambda: install(identify_client="acme"), TypeError, "identify_client: 'acme' is not a function" + IDENTIFY),
    (
        lambda: install(identify_client=no_argument),
        TypeError,
        "identify_client: no_argument cannot be called with one argument (too many positional arguments)" + IDENTIFY,
    ),
    (
        lambda: install(identify_client=two_arguments),
        TypeError,
        ("identify_client: two_arguments cannot be called with one argument (missing a required argument: 'needed')")
        + IDENTIFY,
    ),
    (
        lambda: install(identify_client=asynchronous_generator),
        TypeError,
        "identify_client: asynchronous_generator is a generator, which nobody would run" + IDENTIFY,
    ),
    (
        lambda: install(denial=PlainTextResponse("no")),
        TypeError,
        ("denial: a PlainTextResponse cannot be called with one argument (missing a required argument: 'receive')")
        + DENIAL,
    ),
    (lambda: install(denial=403), TypeError, "denial: 403 is not a function" + DENIAL),
    (lambda: install(denial=True), TypeError, "denial: True is not a function" + DENIAL),
    (lambda: install(denial=asynchronous), TypeError, "denial: asynchronous is async" + PLAIN_DENIAL),
    (lambda: install(denial=functools.partial(asynchronous)), TypeError, "denial: a partial is async" + PLAIN_DENIAL),
    (lambda: install(denial=AsynchronousCall()), TypeError, "denial: an AsynchronousCall is async" + PLAIN_DENIAL),
    (lambda: install(denial=generator), TypeError, "denial: generator is a generator, which nobody would run" + DENIAL),
    (
        lambda: install(denial=no_argument),
        TypeError,
        "denial: no_argument cannot be called with one argument (too many positional arguments)" + DENIAL,
    ),
    (lambda: install(report_only="false"), TypeError, "report_only: 'false'" + BOOL),
    (lambda: install(report_only=1), TypeError, "report_only: 1" + BOOL),
    (lambda: install(report_only=None), TypeError, "report_only: None" + BOOL),
    (lambda: install(require_annotations="yes"), TypeError, "require_annotations: 'yes'" + BOOL),
    (
        lambda: install(on_decision="log"),
        TypeError,
        "on_decision: 'log' is not a function; write on_decision(decision)",
    ),
    (
        lambda: install(on_decision=asynchronous),
        TypeError,
        "on_decision: asynchronous is async; write a plain function, on_decision(decision)",
    ),
    (
        lambda: install(on_decision=functools.partial(asynchronous)),
        TypeError,
        "on_decision: a partial is async; write a plain function, on_decision(decision)",
    ),
    (
        lambda: install(on_decision=generator),
        TypeError,
        "on_decision: generator is a generator, which nobody would run; write on_decision(decision)",
    ),
    (
        lambda: install(on_decision=no_argument),
        TypeError,
        (
            "on_decision: no_argument cannot be called with one argument (too many positional arguments); "
            "write on_decision(decision)"
        ),
    ),
    (
        lambda: install(on_decision=False),
        TypeError,
        "on_decision: False is not a function; write on_decision(decision)",
    ),
    # --- respects_allow_list
    (lambda: mark(endpoint), TypeError, "respects_allow_list: endpoint" + MARK),
    (lambda: mark(), TypeError, "respects_allow_list() missing 1 required positional argument: 'respects'"),
    (lambda: mark(None), TypeError, "respects_allow_list: None" + MARK),
    (lambda: mark("yes"), TypeError, "respects_allow_list: 'yes'" + MARK),
    (lambda: mark(1), TypeError, "respects_allow_list: 1" + MARK),
    (lambda: mark(True, require_client=None), TypeError, "respects_allow_list: require_client: None" + BOOL),
    (
        lambda: mark(True, needed=1),
        TypeError,
        "respects_allow_list() got an unexpected keyword argument 'needed'",
    ),
    (lambda: mark(True, denial=403), TypeError, "respects_allow_list: denial: 403 is not a function" + DENIAL),
    (
        lambda: mark(True, denial=asynchronous),
        TypeError,
        "respects_allow_list: denial: asynchronous is async" + PLAIN_DENIAL,
    ),
    (
        lambda: yes(Application().__call__),
        TypeError,
        (
            "respects_allow_list: Application.__call__ is a bound method, made anew at every access; "
            "annotate the function in its class instead"
        ),
    ),
    (
        lambda: yes(len),
        TypeError,
        "respects_allow_list: len cannot hold an annotation; annotate its route or mount instead",
    ),
    (lambda: yes("/entity"), TypeError, "respects_allow_list: '/entity'" + GROUP),
    (lambda: yes(None), TypeError, "respects_allow_list: None" + GROUP),
    (lambda: yes([Route("/", endpoint)]), TypeError, "respects_allow_list: a list" + GROUP),
    (
        lambda: yes(Frozen()),
        TypeError,
        "respects_allow_list: a Frozen cannot hold an annotation; annotate its route or mount instead",
    ),
    (
        lambda: yes(Application.__call__),
        TypeError,
        (
            "respects_allow_list: Application.__call__ is not looked for on a call; annotate the object that"
            " is called instead"
        ),
    ),
    (lambda: no(Starlette), TypeError, "respects_allow_list: Starlette" + SHARED),
    (lambda: no(HTTPEndpoint), TypeError, "respects_allow_list: HTTPEndpoint" + SHARED),
    (
        lambda: no(int),
        TypeError,
        "respects_allow_list: int cannot hold an annotation; annotate its route or mount instead",
    ),
    (
        lambda: annotated_twice(yes, no, functools.partial(endpoint)),
        AllowListError,
        (
            "respects_allow_list: a partial is already annotated @respects_allow_list(True), not "
            "@respects_allow_list(False); keep one of the two"
        ),
    ),
    (
        lambda: annotated_twice(mark(True, require_client=False), yes, lambda r: r),
        AllowListError,
        (
            "respects_allow_list: <lambda>.<locals>.<lambda> is already annotated @respects_allow_list(True,"
            " require_client=False), not @respects_allow_list(True); keep one of the two"
        ),
    ),
    (
        lambda: annotated_twice(yes, mark(True, denial=lambda d: 1), Route("/x", endpoint)),
        AllowListError,
        (
            "respects_allow_list: a Route at '/x' is already annotated @respects_allow_list(True), not "
            "@respects_allow_list(True, denial=<lambda>.<locals>.<lambda>); keep one of the two"
        ),
    ),
    (
        lambda: annotated_twice(yes, no, type("Own", (HTTPEndpoint,), {})),
        AllowListError,
        (
            "respects_allow_list: Own is already annotated @respects_allow_list(True), not "
            "@respects_allow_list(False); keep one of the two"
        ),
    ),
    (
        lambda: annotated_twice(yes, no, Mount("/x", app)),
        AllowListError,
        (
            "respects_allow_list: a Mount at '/x' is already annotated @respects_allow_list(True), not "
            "@respects_allow_list(False); keep one of the two"
        ),
    ),
]


@pytest.mark.parametrize(("configure", "error", "message"), MISTAKES, ids=[message[:70] for *_, message in MISTAKES])
def test_a_mistake_raises_where_it_is_written(
    configure: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        configure()
    assert (type(caught.value), str(caught.value)) == (error, message)
    assert caught.value.__cause__ is None
    assert "s3cret" not in str(caught.value)


def test_an_allow_list_error_is_a_value_error() -> None:
    assert issubclass(AllowListError, ValueError)
    assert not issubclass(AllowListError, TypeError)


# --- what is right


class Awaited:
    """A source whose look-up is an object with an async call."""

    class LookUp:
        async def __call__(self, client_id: str) -> Any: ...

    allow_list = LookUp()


class Wrapped:
    def wrap(function: Any) -> Any:  # noqa: N805
        @functools.wraps(function)
        async def wrapper(self: Any, client_id: str) -> Any: ...

        return wrapper

    @wrap
    async def allow_list(self, client_id: str, realm: str) -> Any: ...


def injected(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(decision: Decision) -> Any: ...

    return wrapper


RIGHT: dict[str, dict[str, Any]] = {
    "no lists": {"allow_lists": {}},
    "a mapping": {"allow_lists": {"acme": ["192.0.2.0/24"]}},
    "a mapping that is not a dict": {"allow_lists": MappingProxyType({"acme": ANYWHERE})},
    "lists": {"allow_lists": AllowLists(others=ANYWHERE)},
    "a source": {"allow_lists": Source()},
    "a source with an object as its look-up": {"allow_lists": Awaited()},
    "a wrapped source": {"allow_lists": Wrapped()},
    "a partial as the look-up": {"allow_lists": SimpleNamespace(allow_list=functools.partial(asynchronous))},
    "proxies in a tuple": {"trusted_proxies": ("10.0.0.0/8", "unix:")},
    "proxies in a set": {"trusted_proxies": {"10.0.0.0/8"}},
    "a header in any case": {"forwarded_header": "x-REAL-ip"},
    "an async function that identifies": {"identify_client": asynchronous},
    "a class that identifies": {"identify_client": str},
    "a function in C that has no signature": {"identify_client": iter},
    "a denial with defaults": {"denial": lambda decision, status=500: PlainTextResponse("", status)},
    "a denial of any arguments": {"denial": lambda *arguments, **options: PlainTextResponse("")},
    "an injected denial": {"denial": injected(two_arguments)},
    "a class as denial": {"denial": PlainTextResponse},
    "no denial": {"denial": None},
    "a method that hears of decisions": {"on_decision": [].append},
    "nobody who hears of decisions": {"on_decision": None},
    "flags": {"report_only": True, "require_annotations": True},
}


@pytest.mark.parametrize("options", RIGHT.values(), ids=RIGHT)
def test_what_is_right_is_taken(options: dict[str, Any]) -> None:
    assert install(**options).app is app


def test_its_signature_is_that_of_its_options() -> None:
    parameters = inspect.signature(AllowListMiddleware).parameters
    assert [*parameters] == [
        *("app", "allow_lists", "trusted_proxies", "forwarded_header", "identify_client", "denial", "report_only"),
        *("on_decision", "require_annotations"),
    ]
    assert {parameter.kind for name, parameter in parameters.items() if name != "app"} == {
        inspect.Parameter.KEYWORD_ONLY
    }


# --- values in messages


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "'plain'"),
        ("line\nbreak", "'line\\nbreak'"),
        ("x" * 500, "'" + "x" * 119 + "..."),
        (b"bytes", "b'bytes'"),
        (["a", 1, None], "['a', 1, None]"),
        ({"a": (1, 2)}, "{'a': (1, 2)}"),
        ({"a": Secretive()}, "a dict"),
        ([[[["deep"]]]], "a list"),
        (Secretive(), "a Secretive"),
        (object(), "an object"),
        (AllowList, "the class AllowList"),
        (StrEnum("Name", {"A": "a"}).A, "'a'"),  # type: ignore[attr-defined]
        ("postgresql://user:s3cret@db.example/lists", "'postgresql://user:...@db.example/lists'"),
        (["redis://:s3cret@203.0.113.1"], "['redis://:...@203.0.113.1']"),
    ],
)
def test_a_value_is_quoted_in_full_only_where_it_is_plain_and_short(value: Any, text: str) -> None:
    assert quote(value) == text


def test_a_list_that_holds_itself_is_quoted_by_its_type() -> None:
    looped: list[Any] = []
    looped.append(looped)
    assert quote(looped) == "a list"


values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children) | st.tuples(children),
)
OPTIONS = [name for name in inspect.signature(AllowListMiddleware).parameters if name != "app"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(OPTIONS), values)
def test_whatever_is_written_is_taken_or_refused_in_one_line_that_names_the_option(option: str, value: Any) -> None:
    try:
        install(**{option: value})
    except (TypeError, AllowListError) as mistake:
        text = str(mistake)
        assert text.startswith((f"{option}: ", "client "))
        assert text.isprintable()
        assert len(text) < 600


# --- the release of FastAPI


@pytest.mark.parametrize(
    ("version", "is_refused"),
    [
        ("0.99.1", True),
        ("0.115.0", True),
        ("0.137.2", True),
        ("0.137.0rc1", True),
        ("0.138.0", False),
        ("0.138rc1", False),
        ("1.0a1", False),
        ("main", False),
    ],
)
def test_a_fastapi_that_loses_annotations_is_refused(version: str, is_refused: bool, tmp_path: Path) -> None:
    # A stand-in that knows only its version, imported by a program of its own, as the application imports FastAPI.
    (tmp_path / "fastapi.py").write_text(f"__version__ = {version!r}\n")
    program = "import fastapi; from tests.test_configuration import install; install()"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])},
    )
    assert (run.returncode != 0) is is_refused, run.stderr
    message = (
        f"AllowListMiddleware: FastAPI {version} loses the annotations of included routers; install fastapi>=0.138"
    )
    assert (message in run.stderr) is is_refused
