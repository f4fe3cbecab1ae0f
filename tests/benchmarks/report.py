"""The tables of the README, from the committed results: `python -m tests.benchmarks.report` prints them as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tests.benchmarks.measure import read_result, show_seconds

OURS: Final = "allowlist_middleware"
BESIDE: Final = ("hand-made check", "TrustedHostMiddleware", "BaseHTTPMiddleware, no-op", "fastapi-guard, one list")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _goal(row: dict[str, Any]) -> str:
    if row["goal"] is None:
        return ""
    shown = f"{row['goal']:.3g}"
    return f"{'≥' if row['at_least'] else '≤'} {shown}{'' if row['reached'] else ', not reached'}"


def _spread(value: dict[str, float], digits: int = 2) -> str:
    return f"{value['median']:.{digits}f} ({value['low']:.{digits}f} to {value['high']:.{digits}f})"


def overhead() -> Iterator[str]:
    """Yield the cost of a call, as a ratio to the bare application."""
    result = read_result("overhead")
    rows = {row["name"]: row for row in result["rows"]}
    table = []
    for name, row in rows.items():
        what, _, label = name.rpartition(": ")
        if label != OURS:
            continue
        logged = rows.get(f"{what}: {OURS}, logging on")
        beside = [
            f"{short} {_figure(found['value']['median'])}"
            for short, found in ((short, rows.get(f"{what}: {short}")) for short in BESIDE)
            if found is not None
        ]
        if logged is not None:
            beside.insert(0, f"with logging {_figure(logged['value']['median'])}")
        table.append((what, f"**{_spread(row['value'])}**", _goal(row), "; ".join(beside)))
    yield from _table(("call", "to the bare application", "goal", "in the same run"), table)


def stages() -> Iterator[str]:
    """Yield where the time goes."""
    table = []
    for row in read_result("stages")["rows"]:
        what, _, label = row["name"].rpartition(": ")
        table.append((what, label, f"{row['value']['median']:.2f}"))
    yield from _table(("", "each line does all that the lines before do", "to the bare application"), table)


def throughput() -> Iterator[str]:
    """Yield the requests a second, to those of the bare application."""
    table = [
        (row["name"].replace(": ", ", "), f"{_spread(row['value'])}", _goal(row), row["note"])
        for row in read_result("end_to_end")["rows"]
        if not row["name"].endswith(": bare") and "processor" not in row["note"]
    ]
    yield from _table(("served by uvicorn, one worker", "to the bare application", "goal", ""), table)


def latency() -> Iterator[str]:
    """Yield the latency at equal request rates."""
    table = []
    for one in read_result("end_to_end")["latency"]:
        names = {"bare": "bare", "ours": "with it"}
        for name, label in names.items():
            middle = [show_seconds(one["latency"][name][share][1]) for share in ("50", "99", "99.9")]
            table.append((f"{one['framework']}, {one['rate']:,.0f} calls/s, {label}", *middle))
    yield from _table(("", "p50", "p99", "p99.9"), table)


def membership() -> Iterator[str]:
    """Yield the cost of a look-up, as a ratio to `inet_pton`."""
    result = read_result("membership")
    rows = {row["name"]: row for row in result["rows"]}
    labels = (OURS, "pytricia (C)", "py-radix (C)", "netaddr.IPSet", "stdlib, any(ip in network)")
    table = []
    for name, row in rows.items():
        what, _, label = name.rpartition(": ")
        if label == OURS and f"{what}: pytricia (C)" in rows and "per entry" not in what:
            found = [rows.get(f"{what}: {other}") for other in labels]
            figures = ["" if one is None else _figure(one["value"]["median"]) for one in found]
            table.append((what, *figures, _goal(row)))
    let_in = result["let_in"]
    table.append(("wrongly let in, of 150 hostile inputs", *(str(let_in[label]) for label in labels), ""))
    yield from _table(("`text in list`", *labels, "goal"), table)


def lists() -> Iterator[str]:
    """Yield building and memory."""
    table = []
    for row in read_result("membership")["rows"]:
        what, _, label = row["name"].rpartition(": ")
        if "building" in what or "bytes a client" in what:
            seconds = "" if row["seconds"] is None else show_seconds(row["seconds"]["median"])
            digits = 0 if row["unit"] == "bytes" else 2
            table.append((what, label, f"{row['value']['median']:,.{digits}f}", seconds, _goal(row)))
    yield from _table(("", "", "", "time", "goal"), table)


def fleet() -> Iterator[str]:
    """Yield what a fleet asks of its store."""
    result = read_result("fleet")
    chosen = (5, 30, 300, 3600)
    table = []
    for clients in (100, 1_000, 10_000, 100_000):
        found = {
            one["ttl"]: one["look_ups"] for one in result["table"] if one["clients"] == clients and one["exponent"] == 1
        }
        memory = clients * result["bytes_per_client"] / 1e6
        table.append((f"{clients:,}", *(f"{found[ttl]:,.0f}" for ttl in chosen), f"{memory:,.1f} MB"))
    head = ("clients", *(f"ttl {ttl} s" for ttl in chosen), "memory in each worker")
    yield from _table(head, table)
    yield ""
    table = []
    for one in result["simulated"]:
        spread = "Zipf" if one["exponent"] else "evenly"
        what = f"{one['clients']:,} clients, {spread}, ttl {one['ttl']:.0f} s, {one['changes']:.0f} changes/s"
        error = one["simulated"] / one["look_ups"] - 1
        table.append((what, f"{one['look_ups']:,.0f}", f"{one['simulated']:,.0f}", f"{error:+.1%}"))
    yield from _table(("", "formula", "simulation", ""), table)


def propagation() -> Iterator[str]:
    """Yield how long a change takes to the last of several workers."""
    result = read_result("sources_propagation")
    table = []
    for row in result["rows"]:
        milliseconds = row["value"]["median"], row["value"]["high"], 1e3 * result["slowest"][row["name"]]
        table.append((row["name"], *(show_seconds(each / 1e3) for each in milliseconds)))
    head = (f"from the change to the last of {result['workers']} workers", "median", "upper quartile", "slowest")
    yield from _table(head, table)


def faults() -> Iterator[str]:
    """Yield what failing servers do to calls: how out of date an answer was, and what known callers got."""
    table = []
    for one in read_result("sources_faults")["table"]:
        steady = ", ".join(f"{status}: {count:,}" for status, count in one["steady"].items())
        stalest = max(one["stalest_admitted"], one["stalest_refused"])
        shown = show_seconds(stalest) if stalest else "never"
        table.append((one["kind"], one["fault"], f"{one['calls']:,}", steady, shown, show_seconds(one["p99"])))
    yield from _table(("", "fault", "calls", "clients whose lists stay", "most out of date", "p99"), table)


def sizes() -> Iterator[str]:
    """Yield what many clients and one long list cost."""
    result = read_result("sources_sizes")
    heads = {
        "load": "load",
        "cold": "first look-up",
        "hot": "further ones",
        "naive": "naive",
        "load_huge": "long list, first",
        "hot_huge": "long list, further",
        "naive_huge": "long list, naive",
        "gap": "loop stood still",
    }
    table = []
    for one in result["table"]:
        shown = [show_seconds(one[each]) if each in one else "" for each in heads]
        table.append((one["kind"], *shown, f"{one['memory']:,.0f} MB"))
    yield from _table(("", *heads.values(), "memory"), table)


def machine() -> Iterator[str]:
    """Yield what the results were measured on."""
    sources = ("sources_propagation", "sources_sizes", "sources_faults")
    for name in ("overhead", "membership", "end_to_end", "fleet", *sources):
        result = read_result(name)
        described, versions = result["machine"], result["versions"]
        numbers = ", ".join(f"{distribution} {number}" for distribution, number in versions.items())
        yield f"{name}: {described['processor']}, {described['cores']} cores, {described['python']}, {numbers}"


def main() -> None:
    for part in (overhead, stages, throughput, latency, membership, lists, fleet, propagation, faults, sizes, machine):
        print(f"<!-- {part.__name__} -->")
        print("\n".join(part()), end="\n\n")


if __name__ == "__main__":
    main()
