"""The plots, drawn from the results: `python -m tests.benchmarks.plots` redraws all of them as SVG and PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from tests.benchmarks.measure import PLOTS, read_result

# Distinguishable with the common deficiencies of colour vision (Okabe and Ito).
OURS: Final = "#0072b2"
OTHER: Final = "#d55e00"
THIRD: Final = "#009e73"
FOURTH: Final = "#cc79a7"
FIFTH: Final = "#e69f00"
GREY: Final = "#767676"

_STYLE: Final = {
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.facecolor": "white",
    "axes.edgecolor": "#b0b0b0",
    "axes.grid": True,
    "axes.grid.which": "major",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "font.size": 9.5,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.hashsalt": "allowlist_middleware",  # the same drawing is the same file
    "svg.fonttype": "none",
}


def draw_routes() -> Any:
    """Draw what a call costs against the number of routes."""
    points = read_result("overhead")["by_routes"]
    titles = {
        "Starlette": "Starlette",
        "FastAPI": "FastAPI",
        "FastAPI, included": "FastAPI, routes on an included router",
        "Starlette, paths that begin with a parameter": "Starlette, all paths begin with a parameter",
    }
    calls = (
        ("ordinary", "ordinary call: a client on its list", OURS),
        ("token", "token call: the list is ignored", OTHER),
        ("refused", "refused call, to a bare allowed one", THIRD),
    )
    figure, panels = plt.subplots(2, 2, figsize=(9.6, 6.6), sharex=True, sharey=True)
    for panel, (kind, title) in zip(panels.flat, titles.items(), strict=True):
        for call, label, colour in calls:
            series = [point for point in points if point["series"] == f"{kind}: {call}"]
            panel.plot(_counts(series), [point["ratio"] for point in series], "o-", color=colour, label=label)
        panel.set_xscale("log")
        _log_ticks(panel.xaxis, [1, 10, 100, 1000])
        panel.axhline(1, color=GREY, linewidth=1)
        panel.set_title(title)
    panels[0][0].set_ylim(bottom=0)
    for row in panels:
        row[0].set_ylabel("time to that of the bare application")
    for panel in panels[1]:
        panel.set_xlabel("routes (the call goes to the last)")
    panels[0][0].annotate("bare application", (1, 1), (0, -11), textcoords="offset points", color=GREY, fontsize=8)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def draw_entries() -> Any:
    """Draw what a look-up costs against the number of entries."""
    points = read_result("membership")["by_entries"]
    figure, panel = plt.subplots(figsize=(7.6, 4.4))
    names = (
        ("stdlib, any(ip in network)", "any(ip in network)", FOURTH, "s-"),
        ("netaddr.IPSet", "netaddr.IPSet", FIFTH, "v-"),
        ("py-radix (C)", "py-radix (C)", GREY, "^-"),
        ("pytricia (C)", "pytricia (C)", OTHER, "D-"),
        ("allowlist_middleware", "allowlist_middleware", OURS, "o-"),
    )
    ends: list[tuple[str, float, float, str]] = []
    for name, label, colour, marker in names:
        series = [point for point in points if name in point["ratios"]]
        width = 2.6 if colour == OURS else 1.4
        values = [point["ratios"][name] for point in series]
        panel.plot(_counts(series), values, marker, color=colour, linewidth=width)
        ends.append((label, series[-1]["count"], values[-1], colour))
    panel.set_yscale("log")
    _label_ends(panel, ends)
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _axis_of_counts(panel, "entries in the list", [1, 100, 1_000, 10_000, 100_000, 1_000_000])
    panel.set_xlim(0.8, 3e7)
    panel.set_ylabel("time to that of inet_pton alone")
    panel.set_title("“text in list”, by the number of entries")
    return figure


def draw_clients() -> Any:
    """Draw what a call costs against the number of clients."""
    points = read_result("overhead")["by_clients"]
    figure, panel = plt.subplots(figsize=(6.4, 3.6))
    panel.plot(_counts(points), [point["ratio"] for point in points], "o-", color=OURS)
    _axis_of_counts(panel, "clients, of which up to 2,000 call in turn", [1, 100, 10_000, 100_000, 1_000_000])
    panel.axhline(1, color=GREY, linewidth=1)
    panel.annotate("bare application", (1, 1), (0, -11), textcoords="offset points", color=GREY, fontsize=8)
    panel.set_ylim(0.85, max(1.6, *(point["ratio"] + 0.1 for point in points)))
    panel.set_ylabel("time to that of the bare application")
    panel.set_title("Ordinary call, Starlette, by the number of clients")
    return figure


def draw_calls() -> Any:
    """Draw the ordinary call beside what one would use otherwise."""
    rows = {row["name"]: row for row in read_result("overhead")["rows"]}
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.4))
    for panel, kind in zip(panels, ("Starlette", "FastAPI"), strict=True):
        start = f"ordinary call, {kind}, 1 route: "
        series = [(name.removeprefix(start), row) for name, row in rows.items() if name.startswith(start)][1:]
        series.sort(key=lambda one: -float(one[1]["value"]["median"]))
        labels = [label for label, _ in series]
        values = [row["value"]["median"] for _, row in series]
        colours = [OURS if label == "allowlist_middleware" else "#c3c9d0" for label in labels]
        panel.hlines(labels, 1, values, colors=colours, linewidth=7)
        panel.axvline(1, color=GREY, linewidth=1)
        panel.set_xscale("log")
        panel.set_xlim(0.92, max(values) * 1.9)
        panel.set_ylim(-0.6, len(labels) - 0.4)
        _log_ticks(panel.xaxis, [1, 2, 5, 10, 20, 50])
        panel.grid(axis="y", visible=False)
        for position, value in enumerate(values):
            text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
            panel.annotate(text, (value, position), (6, 0), textcoords="offset points", va="center")
        panel.set_xlabel("time to that of the bare application")
        panel.set_title(f"Ordinary call, {kind}, 1 route")
    return figure


def draw_stages() -> Any:
    """Draw where the time of a call goes."""
    rows = read_result("stages")["rows"]
    kinds = ("ordinary call", "token call", "refused call")
    figure, panels = plt.subplots(3, 1, figsize=(8.4, 7.4), sharex=True, height_ratios=(8, 6, 6))
    for panel, kind in zip(panels, kinds, strict=True):
        series = [row for row in rows if row["name"].startswith(f"{kind}: ")]
        labels = [row["name"].removeprefix(f"{kind}: ") for row in series][::-1]
        values = [row["value"]["median"] for row in series][::-1]
        labels[0] = "allowlist_middleware, all of it"
        if kind == "refused call":
            labels[-1] = "bare, an allowed call"
        panel.barh(labels, values, color=[OURS, *["#c3c9d0"] * (len(labels) - 1)], height=0.62)
        panel.grid(axis="y", visible=False)
        for position, value in enumerate(values):
            panel.annotate(f"{value:.2f}", (value, position), (5, 0), textcoords="offset points", va="center")
        panel.set_title(f"{kind[0].upper()}{kind[1:]}: each line does all that the lines above do, in one function")
    panels[-1].set_xlabel("time to that of the bare application (Starlette, 1 route)")
    return figure


def draw_latency() -> Any:
    """Draw the percentiles of the latency at equal request rates, with the middleware and without."""
    measured = read_result("end_to_end")["latency"]
    figure, panels = plt.subplots(2, 3, figsize=(11, 6.2), sharex=True, sharey="row")
    for panel, one in zip(panels.flat, measured, strict=True):
        for name, label, colour, marker in (
            ("bare", "bare application", GREY, "s-"),
            ("ours", "with allowlist_middleware", OURS, "o-"),
        ):
            shares = {float(share): spread for share, spread in one["latency"][name].items() if share[0].isdigit()}
            nines = [-math.log10(1 - share / 100) for share in shares]
            low, middle, high = ([spread[at] * 1e3 for spread in shares.values()] for at in range(3))
            panel.plot(nines, middle, marker, color=colour, label=label)
            panel.fill_between(nines, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.set_yscale("log")
        _log_ticks(panel.yaxis, [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500])
        panel.xaxis.set_major_locator(FixedLocator([-math.log10(1 - share / 100) for share in (50, 90, 99, 99.9)]))
        panel.set_xticklabels(["p50", "p90", "p99", "p99.9"])
        framework = {"starlette": "Starlette", "fastapi": "FastAPI"}[one["framework"]]
        panel.set_title(f"{framework}, {one['rate']:,.0f} calls/s", fontsize=10)
    for row in panels:
        row[0].set_ylabel("latency in ms")
    panels[0][0].legend(loc="upper left")
    return figure


def draw_fleet() -> Any:
    """Draw what a fleet of a thousand workers asks of the store."""
    result = read_result("fleet")
    figure, panel = plt.subplots(figsize=(7.2, 4.2))
    ends: list[tuple[str, float, float, str]] = []
    for clients, colour in ((100, GREY), (1_000, OURS), (10_000, THIRD), (100_000, OTHER)):
        series = [one for one in result["table"] if one["clients"] == clients and one["exponent"] == 1]
        values = [one["look_ups"] for one in series]
        panel.plot([one["ttl"] for one in series], values, "-", color=colour)
        ends.append((f"{clients:,} clients", series[-1]["ttl"], values[-1], colour))
    simulated = [one for one in result["simulated"] if one["exponent"] == 1 and one["changes"] <= 1]
    times, values = [one["ttl"] for one in simulated], [one["simulated"] for one in simulated]
    panel.plot(times, values, "o", color=OURS, label="simulated, 1,000 clients")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(4, 20_000)
    _label_ends(panel, ends)
    _log_ticks(panel.xaxis, [5, 30, 300, 3600])
    _log_ticks(panel.yaxis, [1_000, 3_000, 10_000, 30_000, 100_000])
    panel.set_xlabel("ttl in seconds (with push, one changed list a second)")
    panel.set_ylabel("look-ups a second")
    panel.legend(loc="lower left")
    panel.set_title("1,000 workers, 100,000 calls a second: what the store is asked")
    return figure


PLOTTED: Final[dict[str, Callable[[], Any]]] = {
    "calls": draw_calls,
    "routes": draw_routes,
    "entries": draw_entries,
    "clients": draw_clients,
    "stages": draw_stages,
    "latency": draw_latency,
    "fleet": draw_fleet,
}


def _label_ends(panel: Any, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write the names of lines where they end, on a logarithmic axis, none over another."""
    low, high = (math.log10(limit) for limit in panel.get_ylim())
    least = (high - low) * 0.052
    place = -math.inf
    for label, x, y, colour in sorted(ends, key=lambda end: end[2]):
        place = max(place + least, math.log10(y))
        offset = {"xytext": (9, -3), "textcoords": "offset points"}
        panel.annotate(label, (x, 10**place), color=colour, annotation_clip=False, **offset)


def _counts(points: Sequence[Any]) -> list[int]:
    return [point["count"] for point in points]


def _axis_of_counts(panel: Any, label: str, ticks: Sequence[int]) -> None:
    panel.set_xscale("log")
    _log_ticks(panel.xaxis, ticks)
    panel.set_xlabel(label)


def _log_ticks(axis: Any, ticks: Sequence[float]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.15g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def main() -> None:
    mpl.use("Agg")
    PLOTS.mkdir(exist_ok=True)
    with mpl.rc_context(_STYLE):
        for name, draw in PLOTTED.items():
            try:
                figure = draw()
            except FileNotFoundError as missing:
                print(f"{name}: no result {missing.filename}")
                continue
            figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
            figure.savefig(PLOTS / f"{name}.png", metadata={"Software": None})
            plt.close(figure)
            print(f"{name}: drawn")


if __name__ == "__main__":
    main()
