"""The index only prunes: whatever a regular expression matches, its route is among those that are asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import compile_path

from allowlist_middleware.route_index import Kind, RouteIndex
from tests.bounded import bounded

law = settings(deadline=None, max_examples=400)

PATHS = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/ab",
    "/{x}",
    "/a/{x}",
    "/a{x}/b",
    "/{x:path}",
    "/a/{x:int}",
    "/a.b",
    "/a$",
    "/a/$x",
]
REGEXES = [
    "/a",  # `match` stands at the beginning without "^"
    "^/a",
    "^/a/b?$",
    "^/a/b*",
    "^/a/b{0,2}/c",
    "^/a/b+",
    "^/a/(b)?$",
    "^/a|^/b",
    "^/(a|b)$",
    "^/[ab]$",
    "^/a\\Z",
    "^/a/\\d$",
    "^/a/\\w+$",
    "^/a\\/b$",
    "^/a\\-b$",
    "^/a\\-?b$",
    "^/a\\$",
    "^/a\\$$",
    "^/a\\.b$",
    "^/a\\n?$",
    "^$",
    "^/a$|^/b$",
    "(?i)^/a$",
    "^(?i:/a)$",
    "^/a$$",
    "^/a}$",
    "^/a]$",
    "^/é$",
    "^/\\x61$",
    "^/a/.b",
    "^.*$",
    "^/a\\b/b",
    "^/a\\Ab",
    "",
]
FLAGS = [0, 0, 0, re.IGNORECASE, re.MULTILINE, re.DOTALL, re.VERBOSE, re.ASCII]


class Carrier(SimpleNamespace):
    def matches(self, scope: Any) -> None:
        """As it was when the index was made, or not."""


def carrier(regex: re.Pattern[str] | None) -> Any:
    return Carrier(path_regex=regex)


def classify(route: Any) -> tuple[Kind, Any, Any]:
    return Kind.ROUTE, None if route.path_regex is None else route, route


def index_of(*regexes: str | re.Pattern[str] | None) -> RouteIndex:
    return RouteIndex([carrier(re.compile(one) if isinstance(one, str) else one) for one in regexes], classify)


regexes = st.one_of(
    st.sampled_from(PATHS).map(lambda path: compile_path(path)[0]),
    st.builds(re.compile, st.sampled_from(REGEXES), st.sampled_from(FLAGS)),
    st.text("/ab$.\\", max_size=5).map(lambda text: re.compile(f"^{re.escape(text)}$")),
    st.none(),
)
texts = st.text("/ab\\.$-?A\n}é1", max_size=6)
paths = st.one_of(texts, texts.map("/".__add__), st.sampled_from(PATHS), st.text(max_size=6))


@law
@given(st.lists(regexes, max_size=12), st.lists(paths, min_size=1, max_size=8))
def test_no_route_that_matches_is_dropped(regexes: list[re.Pattern[str] | None], paths: list[str]) -> None:
    index = index_of(*regexes)
    for path in paths:
        positions = list(index.positions(path))
        assert positions == sorted(set(positions))
        matching = {position for position, regex in enumerate(regexes) if regex is None or regex.match(path)}
        assert matching <= set(positions)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/r/7", [7]),
        ("/r/7\n", [7]),
        ("/r/7/x", [507]),
        ("/r/7/x/y", [507]),
        ("/r/9999", []),
        ("/R/7", []),
        ("", []),
        ("/" * 500_000, []),
    ],
)
def test_few_of_many_routes_are_asked(path: str, asked: list[int]) -> None:
    literal = [compile_path(f"/r/{number}")[0] for number in range(500)]
    parameters = [compile_path(f"/r/{number}/{{x}}")[0] for number in range(500)]
    index = index_of(*literal, *parameters)
    with bounded():
        assert list(index.positions(path)) == asked


CHANGES: dict[str, tuple[Callable[[list[Any]], object], bool]] = {
    "nothing": (lambda routes: None, True),
    "the expression of a route": (lambda routes: setattr(routes[2], "path_regex", re.compile("^/x$")), False),
    "its flags": (lambda routes: setattr(routes[2], "path_regex", re.compile("^/a/2$", re.IGNORECASE)), False),
    "an equal expression": (lambda routes: setattr(routes[2], "path_regex", re.compile("^/a/2$")), True),
    "a route": (lambda routes: routes.__setitem__(2, carrier(re.compile("^/a/2$"))), False),
    "the order": (lambda routes: routes.reverse(), False),
    "the number": (lambda routes: routes.pop(), False),
    "the matches of a route": (lambda routes: setattr(routes[2], "matches", print), False),
    "a matches beyond": (lambda routes: setattr(routes[5], "matches", print), True),
    "a route beyond": (lambda routes: routes.__setitem__(5, carrier(re.compile("^/a/5$"))), True),
    "an expression beyond": (lambda routes: setattr(routes[5], "path_regex", re.compile("^/x$")), True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_was_asked_up_to_the_answer_is_noticed(change: str) -> None:
    routes = [carrier(re.compile(f"^/a/{number}$")) for number in range(12)]
    index = RouteIndex(routes, classify)
    make, is_current = CHANGES[change]
    make(routes)
    assert index.is_current(routes, 4) is is_current


@pytest.mark.parametrize("count", [0, 1, 8, 9])
def test_every_change_of_a_route_is_noticed_among_any_number(count: int) -> None:
    routes = [carrier(re.compile(f"^/a/{number}$")) for number in range(count)]
    index = RouteIndex(routes, classify)
    assert index.is_current(routes, count)
    assert not index.is_current([*routes, carrier(None)], count)
    for position in range(count):
        changed = [*routes[:position], carrier(re.compile(f"^/a/{position}$")), *routes[position + 1 :]]
        assert not index.is_current(changed, count)


def test_it_says_whether_regular_expressions_alone_decide() -> None:
    assert index_of("^/a$", "^/b").is_plain
    assert not index_of("^/a$", None).is_plain
    assert index_of().is_plain


@pytest.mark.parametrize("count", [4, 12])
def test_a_route_that_another_object_decides_for_is_compared_beside_that(count: int) -> None:
    deciders = [carrier(re.compile(f"^/a/{number}$")) for number in range(count)]
    routes = [SimpleNamespace(decider=decider) for decider in deciders]
    index = RouteIndex(routes, lambda route: (Kind.EFFECTIVE, route.decider, route.decider))
    assert index.is_current(routes, count)
    routes[2] = SimpleNamespace(decider=deciders[2])
    assert not index.is_current(routes, count)
    assert not index.is_current(routes, 3)
    assert index.is_current(routes, 2)
    deciders[1].matches = print
    assert not index.is_current(routes, 2)
    assert index.is_current(routes, 1)
