"""What every source has to do, on real servers."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette

from allowlist_middleware import ANYWHERE, AllowList, AllowListError, AllowListMiddleware, Decision
from allowlist_middleware.sources import Source
from allowlist_middleware.sources.readiness import Readiness
from tests.asgi import LISTS
from tests.sources.stores import KINDS, REMOTE, Open, becomes, fails, spoil
from tests.test_decision_table import CALLS, application, make_call

pytestmark = pytest.mark.anyio

IDS = (
    *("acme", "Acme", "ACME", "acme ", " acme", "acme%20", "ac me", "acme\u00a0"),
    *("caf\u00e9", "cafe\u0301", "stra\u00dfe", "strasse", "\u212aelvin", "Kelvin", "\U0001f600", "\u0130", "i"),
    *("*", "?", "[a-z]", "{x}", "%", "%41", "A", "\\", "/", "../x", "'; DROP TABLE allow_list_clients; --", '"', "$$"),
    *("0", "00", "null", "None", "true", "1e3", "x" * 2000, "allow-list", "\u202etxt", "\ufeff", "\u2028", "#", "="),
)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_list_is_found(kind: str, open_kind: Open) -> None:
    entries = ["192.0.2.0/24", "2001:db8::/32", "203.0.113.7", "198.51.100.10-198.51.100.20", "::ffff:10.0.0.1"]
    async with open_kind(kind) as store:
        assert isinstance(store.source, Source)
        await store.set("acme", entries)
        await store.set("partner", ANYWHERE)
        await store.set("retired", [])
        await becomes(store.source, "retired", AllowList([]))
        assert await store.source.allow_list("acme") == AllowList(entries)
        assert await store.source.allow_list("partner") is ANYWHERE
        assert await store.source.allow_list("stranger") is None


@pytest.mark.parametrize("kind", KINDS)
async def test_client_ids_are_compared_exactly(kind: str, open_kind: Open) -> None:
    async with open_kind(kind) as store:
        for number, client_id in enumerate(IDS[::2]):
            await store.set(client_id, [f"192.0.2.{number}"])
        await becomes(store.source, IDS[::2][-1], AllowList([f"192.0.2.{len(IDS[::2]) - 1}"]))
        for number, client_id in enumerate(IDS[::2]):
            assert await store.source.allow_list(client_id) == AllowList([f"192.0.2.{number}"]), client_id
        for client_id in IDS[1::2]:
            assert await store.source.allow_list(client_id) is None, client_id


@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_is_followed(kind: str, open_kind: Open) -> None:
    async with open_kind(kind) as store:
        assert await store.source.allow_list("acme") is None
        for listed in (["192.0.2.0/24"], ["198.51.100.0/24", "::/0"], [], ANYWHERE, {"203.0.113.7": "the office"}):
            await store.set("acme", listed)
            await becomes(store.source, "acme", AllowList(list(listed) if isinstance(listed, dict) else listed))
        await store.set("other", ANYWHERE)
        await store.delete("acme")
        await becomes(store.source, "acme", None)
        assert await store.source.allow_list("other") is ANYWHERE
        # What the client had before it was deleted does not come back with it.
        await store.set("acme", ["192.0.2.1"])
        await becomes(store.source, "acme", AllowList(["192.0.2.1"]))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_clients_are_listed(kind: str, open_kind: Open) -> None:
    async with open_kind(kind) as store:
        assert await store.source.client_ids() == []
        for client_id in IDS:
            await store.set(client_id, [])
        await becomes(store.source, IDS[-1], AllowList([]))
        assert sorted(await store.source.client_ids()) == sorted(IDS)
        await store.delete(IDS[0])
        await becomes(store.source, IDS[0], None)
        assert sorted(await store.source.client_ids()) == sorted(IDS[1:])


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_allow_list_is_refused_and_changes_nothing(kind: str, open_kind: Open) -> None:
    async with open_kind(kind) as store:
        await store.set("acme", ["192.0.2.1"])
        for listed in (["10.0.0.1/8"], ["192.0.2.1", "*"], "192.0.2.1", None, [7], 7):
            with pytest.raises((AllowListError, TypeError)):
                await store.set("acme", listed)  # type: ignore[arg-type]
        await becomes(store.source, "acme", AllowList(["192.0.2.1"]))


@pytest.mark.parametrize("kind", [*REMOTE, "memory"])
async def test_what_is_no_client_id_is_refused(kind: str, open_kind: Open) -> None:
    async with open_kind(kind) as store:
        for client_id in ("", "a:b", "a\nb", "\x00", 7):
            with pytest.raises((AllowListError, TypeError)):
                await store.set(client_id, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
async def test_lists_in_reach_are_fresh(kind: str, open_kind: Open) -> None:
    async with open_kind(kind) as store:
        assert await store.source.readiness() is Readiness.FRESH
        assert str(Readiness.FRESH) == "fresh"


@pytest.mark.parametrize("kind", REMOTE)
async def test_a_bad_entry_refuses_its_client_and_no_other(
    kind: str, open_kind: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_kind(kind, retry=0.1) as store:
        await store.set("acme", ["192.0.2.1"])
        await store.set("spoilt", ["192.0.2.1"])
        await becomes(store.source, "spoilt", AllowList(["192.0.2.1"]))
        await spoil(store, "spoilt")
        await store.set("marker", [])
        await becomes(store.source, "marker", AllowList([]))
        await fails(store.source, "spoilt")
        assert "client 'spoilt': '10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'" in caplog.text
        assert await store.source.allow_list("acme") == AllowList(["192.0.2.1"])
        assert await store.source.readiness() == Readiness.FRESH
        # One line, however often it is asked for within the time after which it is asked for again.
        assert caplog.text.count("spoilt") == 1
        await store.set("spoilt", ["192.0.2.2"])
        await becomes(store.source, "spoilt", AllowList(["192.0.2.2"]))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_decision_table_is_the_same(kind: str, open_kind: Open, caplog: pytest.LogCaptureFixture) -> None:
    async with open_kind(kind) as store:
        decisions: list[Decision] = []
        app = application(Starlette, report_only=False).app
        assert isinstance(app, Starlette)
        app.user_middleware.clear()
        app.add_middleware(AllowListMiddleware, allow_lists=store.source, on_decision=decisions.append)
        for client_id, entries in LISTS.items():
            await store.set(client_id, entries)
        await store.set("partner", ANYWHERE)
        if kind in REMOTE:
            await spoil(store, "broken")
        await becomes(store.source, "partner", ANYWHERE)
        # A file with a bad entry is not taken at all, and lists in memory cannot hold one.
        rows: list[Any] = [each.values for each in CALLS if kind in REMOTE or "failing" not in each.values]
        for operation, client, address, row in rows:
            decisions.clear()
            await make_call(app, "http", operation, client, address)
            assert [(decision.reason, decision.status_code) for decision in decisions] == [(row.reason, row.status)]
        assert len(rows) == 5 * 4 * (7 if kind in REMOTE else 6)
