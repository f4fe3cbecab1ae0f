"""Lists in memory as a mapping that changes in single steps, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, MutableMapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from allowlist_middleware import ANYWHERE, AllowList, AllowListError, AllowLists

A, B = AllowList(["192.0.2.0/24"]), AllowList(["198.51.100.7"])


def make() -> AllowLists:
    return AllowLists({"acme": ["192.0.2.0/24"], "partner": ANYWHERE, "retired": []})


# --- a mapping


def test_it_is_a_mapping_of_client_ids_to_allow_lists() -> None:
    lists = make()
    assert isinstance(lists, MutableMapping)
    assert list(lists) == list(lists.keys()) == ["acme", "partner", "retired"]
    assert dict(lists) == dict(lists.items()) == {"acme": A, "partner": ANYWHERE, "retired": AllowList([])}
    assert list(lists.values()) == [A, ANYWHERE, AllowList([])]
    assert len(lists) == 3
    assert lists["acme"] == A
    assert lists["partner"] is ANYWHERE
    assert "acme" in lists
    assert "ACME" not in lists
    assert lists.get("stranger") is None
    assert lists == dict(lists)
    assert lists == AllowLists(lists)
    with pytest.raises(KeyError):
        lists["stranger"]
    with pytest.raises(TypeError, match="unhashable"):
        hash(lists)


@pytest.mark.parametrize("mapping", [{}, MappingProxyType({"acme": A}), AllowLists({"acme": A})])
def test_it_is_made_of_any_mapping(mapping: Mapping[str, AllowList]) -> None:
    assert dict(AllowLists(mapping)) == dict(mapping)


@pytest.mark.parametrize(
    "entries", [["192.0.2.0/24"], ("192.0.2.0/24",), {"192.0.2.0/24"}, iter(["192.0.2.0/24"]), A, AllowList(A)]
)
def test_every_way_to_set_a_list_takes_entries_or_an_allow_list(entries: Any) -> None:
    first = AllowLists({"acme": entries})
    lists = AllowLists()
    lists["set"] = first["acme"].entries
    lists.update(updated=["192.0.2.0/24"])
    lists.update({"mapped": A}, keyword=("192.0.2.0/24",))
    assert lists.setdefault("default", ["192.0.2.0/24"]) == A
    assert {*map(type, lists.values())} == {AllowList}
    assert {*lists.values()} == {*first.values()} == {A}


def test_an_allow_list_is_kept_as_it_is() -> None:
    lists = AllowLists({"acme": A}, others=B)
    lists["b"] = B
    assert lists["acme"] is A
    assert lists["b"] is B
    assert lists.others is B


def test_others_is_for_whoever_is_not_named_and_is_no_item() -> None:
    lists = AllowLists({"retired": []}, others=["192.0.2.0/24"])
    assert lists.others == A
    assert lists.find("stranger") == A
    assert lists.find("retired") == AllowList([])
    assert "stranger" not in lists
    assert list(lists) == ["retired"]
    assert make().others is None
    assert make().find("stranger") is None
    with pytest.raises(AttributeError):
        lists.others = ANYWHERE  # type: ignore[misc]


def test_what_it_removes_it_returns() -> None:
    lists = make()
    assert lists.pop("acme") == A
    assert lists.pop("acme", None) is None
    with pytest.raises(KeyError):
        lists.pop("acme")
    assert lists.popitem() == ("retired", AllowList([]))
    lists.clear()
    assert len(lists) == 0
    with pytest.raises(KeyError):
        lists.popitem()
    with pytest.raises(KeyError):
        del lists["acme"]


def test_setdefault_returns_what_is_set() -> None:
    lists = make()
    assert lists.setdefault("acme", ANYWHERE) == A
    assert lists.setdefault("new") == AllowList([])
    assert lists.setdefault("other", B) is B


def test_its_repr_is_short() -> None:
    assert repr(make()) == "AllowLists(3 clients)"
    assert repr(AllowLists(others=ANYWHERE)) == "AllowLists(0 clients, others=ANYWHERE)"
    many = AllowLists({f"client-{number}": ["192.0.2.1"] * 1000 for number in range(100)}, others=["192.0.2.1"] * 1000)
    assert len(repr(many)) < 200


class Client(StrEnum):
    ACME = "acme"


class Shouting(str):
    """Text that hashes and compares as it likes."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash("partner")

    def __eq__(self, other: object) -> bool:
        return other == "partner"


def test_text_that_compares_as_it_likes_would_be_another_client() -> None:
    assert {"partner": 1}[Shouting("b")] == 1


def test_a_client_id_counts_as_its_text_alone() -> None:
    lists = AllowLists({Client.ACME: A, Shouting("b"): B})
    lists["partner"] = ANYWHERE
    assert {type(client_id) for client_id in lists} == {str}
    assert (lists.find("acme"), lists.find("b"), lists.find("partner")) == (A, B, ANYWHERE)
    lists[Shouting("partner2")] = []
    assert lists["partner"] is ANYWHERE


# --- an error changes nothing

BAD: list[tuple[Callable[[AllowLists], Any], type[Exception]]] = [
    (lambda lists: lists.__setitem__("acme", ["10.0.0.1/8"]), AllowListError),
    (lambda lists: lists.__setitem__("acme", None), TypeError),  # type: ignore[assignment]
    (lambda lists: lists.__setitem__("acme", "192.0.2.1"), TypeError),
    (lambda lists: lists.__setitem__("", A), AllowListError),
    (lambda lists: lists.__setitem__("a:b", A), AllowListError),
    (lambda lists: lists.__setitem__(b"acme", A), TypeError),  # type: ignore[index]
    (lambda lists: lists.setdefault("new", ["nonsense"]), AllowListError),
    (lambda lists: lists.setdefault("acme", ["nonsense"]), AllowListError),
    (lambda lists: lists.setdefault("a\n", A), AllowListError),
    (lambda lists: lists.update({"new": A, "acme": ["nonsense"]}), AllowListError),
    (lambda lists: lists.update({"new": A, "a:b": A}), AllowListError),
    (lambda lists: lists.update({"new": A}, acme=["nonsense"]), AllowListError),
    (lambda lists: lists.update([("new", A)]), TypeError),  # type: ignore[arg-type]
    (lambda lists: lists.update(None), TypeError),  # type: ignore[arg-type]
    (lambda lists: lists.update({"new": failing()}), RuntimeError),
    (lambda lists: lists.pop("stranger"), KeyError),
    (lambda lists: lists.__delitem__("stranger"), KeyError),
]


def failing() -> Any:
    yield "192.0.2.1"
    raise RuntimeError("the entries cannot be read to their end")


@pytest.mark.parametrize(("change", "error"), BAD)
def test_a_change_that_raises_changes_nothing(change: Callable[[AllowLists], Any], error: type[Exception]) -> None:
    lists = make()
    before = {client_id: id(allow_list) for client_id, allow_list in lists.items()}
    with pytest.raises(error):
        change(lists)
    assert {client_id: id(allow_list) for client_id, allow_list in lists.items()} == before


# --- single steps


@pytest.mark.parametrize("view", [iter, AllowLists.keys, AllowLists.values, AllowLists.items])
def test_a_change_during_an_iteration_does_not_disturb_it(view: Callable[[AllowLists], Any]) -> None:
    lists = make()
    seen = []
    for item in view(lists):
        seen.append(item)
        lists.clear()
        lists.update({"new": A, "newer": B})
    assert len(seen) == 3


def test_two_lists_that_change_together_are_seen_together() -> None:
    lists = AllowLists({"a": A, "b": A})
    stop = threading.Event()
    seen: set[tuple[tuple[str, AllowList], ...]] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(tuple(lists.items()))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(2000):
        lists.update(dict.fromkeys("ab", (A, B, ANYWHERE)[turn % 3]))
    stop.set()
    for reader in readers:
        reader.join()
    assert seen <= {(("a", value), ("b", value)) for value in (A, B, ANYWHERE)}


def test_of_many_threads_that_remove_a_client_one_gets_its_list() -> None:
    lists = AllowLists()
    got: list[Any] = []
    start = threading.Barrier(8)

    def take() -> None:
        for turn in range(100):
            start.wait()
            lists.setdefault(f"client-{turn}", A)
            start.wait()
            got.append(lists.pop(f"client-{turn}", None))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [allow_list for allow_list in got if allow_list is not None] == [A] * 100
    assert len(lists) == 0


class Mirror(RuleBasedStateMachine):
    """Whatever is done to the lists is done to a dict too, and both hold the same afterwards."""

    ids = st.sampled_from(["acme", "partner", "a", "b"])
    values = st.sampled_from([A, B, ANYWHERE, AllowList([])])

    def __init__(self) -> None:
        super().__init__()
        self.lists = AllowLists()
        self.model: dict[str, AllowList] = {}

    @rule(client_id=ids, value=values)
    def set_one(self, client_id: str, value: AllowList) -> None:
        self.lists[client_id] = value
        self.model[client_id] = value

    @rule(changes=st.dictionaries(ids, values))
    def set_several(self, changes: dict[str, AllowList]) -> None:
        self.lists.update(changes)
        self.model.update(changes)

    @rule(client_id=ids, value=values)
    def set_default(self, client_id: str, value: AllowList) -> None:
        assert self.lists.setdefault(client_id, value) is self.model.setdefault(client_id, value)

    @rule(client_id=ids)
    def remove(self, client_id: str) -> None:
        assert self.lists.pop(client_id, None) is self.model.pop(client_id, None)

    @rule()
    def empty(self) -> None:
        self.lists.clear()
        self.model.clear()

    @invariant()
    def holds_the_same(self) -> None:
        assert list(self.lists.items()) == list(self.model.items())
        assert all(self.lists.find(client_id) is self.model.get(client_id) for client_id in ("acme", "a", "x"))


TestMirror = Mirror.TestCase


@given(st.dictionaries(st.text(), st.sampled_from([A, ANYWHERE])))
def test_a_client_id_is_taken_literally_or_refused(mapping: dict[str, AllowList]) -> None:
    try:
        lists = AllowLists(mapping)
    except AllowListError:
        assert any(not client_id or ":" in client_id or not client_id.isprintable() for client_id in mapping)
    else:
        assert dict(lists) == mapping
