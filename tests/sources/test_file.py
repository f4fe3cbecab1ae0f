"""Lists in a file, changed in every way operators change files."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any

import anyio
import pytest

from allowlist_middleware import ANYWHERE, AllowList, AllowListError
from allowlist_middleware.sources.file import FileAllowLists
from allowlist_middleware.sources.readiness import Readiness, SourceError
from tests.sources.stores import becomes, dump

pytestmark = pytest.mark.anyio

BEFORE, AFTER = AllowList(["192.0.2.1"]), AllowList(["192.0.2.2"])


on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def text(allow_list: AllowList, suffix: str = ".toml") -> str:
    return dump(suffix, {"acme": {"entries": list(allow_list.entries)}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lists.toml"
    path.write_text(text(BEFORE))
    return path


def write_in_place(path: Path) -> None:
    path.write_text(text(AFTER))


def write_and_rename(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text(text(AFTER))
    new.replace(path)


def write_as_vim_does(path: Path) -> None:
    path.rename(path.with_suffix(".toml~"))
    path.write_text(text(AFTER))
    path.with_suffix(".toml~").unlink()


def move_from_elsewhere(path: Path) -> None:
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lists.toml").write_text(text(AFTER))
    shutil.move(elsewhere / "lists.toml", path)


def write_in_parts(path: Path) -> None:
    with path.open("w") as file:
        for character in text(AFTER):
            file.write(character)
            file.flush()
            sleep(0.002)


def replace_by_a_link(path: Path) -> None:
    target = path.parent / "target.toml"
    target.write_text(text(AFTER))
    link = path.with_suffix(".link")
    link.symlink_to(target.name)
    link.replace(path)


WRITINGS: list[Callable[[Path], None]] = [
    write_in_place,
    write_and_rename,
    write_as_vim_does,
    move_from_elsewhere,
    write_in_parts,
    replace_by_a_link,
]


@on_both_loops
@pytest.mark.parametrize("write", WRITINGS)
async def test_a_new_version_is_taken_at_once(write: Callable[[Path], None], path: Path) -> None:
    async with FileAllowLists(path, poll=30) as source:
        await anyio.sleep(0.1)
        assert source.find("acme") == BEFORE
        await anyio.to_thread.run_sync(write, path)
        with anyio.fail_after(5):
            while source.find("acme") != AFTER:
                assert source.find("acme") == BEFORE
                await anyio.sleep(0.001)
        # And again, which the directory has to be watched for anew where the file has become a link.
        path.write_text(text(BEFORE))
        await becomes(source, "acme", BEFORE)


async def test_a_config_map_of_kubernetes(tmp_path: Path) -> None:
    def publish(version: str, allow_list: AllowList) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "lists.toml").write_text(text(allow_list))
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    publish("..2026_11_23_05_00_00", BEFORE)
    (tmp_path / "lists.toml").symlink_to("..data/lists.toml")
    async with FileAllowLists(tmp_path / "lists.toml", poll=30) as source:
        for number, allow_list in enumerate((AFTER, BEFORE, AFTER)):
            await anyio.sleep(0.2)
            publish(f"..2026_11_23_06_00_0{number}", allow_list)
            await becomes(source, "acme", allow_list)


async def test_links_in_every_place_are_followed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / "one" / "deep" / "lists.toml").write_text(text(BEFORE))
    (tmp_path / "two" / "deep" / "lists.toml").write_text(text(AFTER))
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "current").symlink_to(tmp_path / "one")
    (tmp_path / "near").symlink_to("far/../far/current/deep")
    async with FileAllowLists(tmp_path / "near" / "lists.toml", poll=30) as source:
        await anyio.sleep(0.2)
        (tmp_path / "new").symlink_to(tmp_path / "two")
        (tmp_path / "new").replace(tmp_path / "far" / "current")
        await becomes(source, "acme", AFTER)


def replace_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_a_link_to(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "there is no such file"),
    "empty": (lambda path: path.write_text(""), "line 1: the file is empty; write version = 1 and clients"),
    "half": (lambda path: path.write_text(text(AFTER)[:-5]), "line 3: "),
    "a bad entry": (
        lambda path: path.write_text(text(AFTER) + 'other = ["10.0.0.1/8"]'),
        "line 4: client 'other': '10.0.0.1/8' has host bits set; write '10.0.0.0/8' or '10.0.0.1/32'",
    ),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe"), "line 1: it is not UTF-8"),
    "a directory": (replace_by_a_directory, "Is a directory"),
    "a dead link": (lambda path: replace_by_a_link_to(path, "nowhere"), "there is no such file"),
    "a link to itself": (lambda path: replace_by_a_link_to(path, path.name), "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("is_watched", [True, False])
async def test_a_broken_file_leaves_the_lists_in_force_and_is_told_once(
    broken: str, is_watched: bool, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "allowlist_middleware")
    source = FileAllowLists(path, poll=0.02)
    if is_watched:
        await source.__aenter__()
    break_it, reason = BROKEN[broken]
    break_it(path)
    with anyio.fail_after(5):
        while await source.readiness() is Readiness.FRESH:
            assert await source.allow_list("acme") == BEFORE
            await anyio.sleep(0.001)
    for _ in range(3):
        await anyio.sleep(0.025)
        assert await source.allow_list("acme") == BEFORE
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith(f"allow lists: {path}: {reason}")
    assert errors[0].endswith("; the lists read before stay in force")
    if path.is_dir():
        path.rmdir()
    write_and_rename(path)
    await becomes(source, "acme", AFTER)
    assert await source.readiness() is Readiness.FRESH
    assert caplog.records[-1].message == f"allow lists: read 1 clients from {path}"
    if is_watched:
        await source.__aexit__(None, None, None)


async def look_up_apart(source: FileAllowLists) -> None:
    """Look at the file in another task; coverage loses a coroutine that an exception passes by in Python 3.11."""
    async with anyio.create_task_group() as group:
        await anyio.sleep(0.02)
        group.start_soon(source.allow_list, "acme")


async def test_another_error_is_told_too(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = FileAllowLists(path, poll=0.01)
    path.unlink()
    await look_up_apart(source)
    path.touch()
    await look_up_apart(source)
    assert [record.message.split(": ")[2] for record in caplog.records] == [
        "there is no such file; the lists read before stay in force",
        "line 1",
    ]


@on_both_loops
async def test_broken_for_longer_than_max_stale_look_ups_fail(path: Path) -> None:
    source = FileAllowLists(path, poll=0.01, max_stale=0.2)
    path.unlink()
    await anyio.sleep(0.02)
    assert await source.allow_list("acme") == BEFORE
    assert await source.readiness() is Readiness.STALE
    await anyio.sleep(0.25)
    for ask in (source.allow_list("acme"), source.client_ids()):
        with pytest.raises(SourceError, match=r"there is no such file, for longer than 0\.2 seconds"):
            await ask
    assert await source.readiness() is Readiness.UNAVAILABLE
    write_and_rename(path)
    await becomes(source, "acme", AFTER)
    assert await source.client_ids() == ["acme"]


@pytest.mark.parametrize("broken", ["missing", "empty", "half", "a bad entry", "not text", "a directory"])
def test_a_file_that_is_broken_at_the_start_is_an_error(broken: str, path: Path) -> None:
    break_it, reason = BROKEN[broken]
    break_it(path)
    with pytest.raises(AllowListError) as error:
        FileAllowLists(path)
    assert str(error.value).startswith(f"FileAllowLists: {path}: {reason}")


@pytest.mark.parametrize(
    ("path", "options", "error", "message"),
    [
        ("lists.yaml", {}, AllowListError, "FileAllowLists: 'lists.yaml' is neither .toml nor .json; name it so"),
        ("lists", {}, AllowListError, "FileAllowLists: 'lists' is neither .toml nor .json; name it so"),
        (7, {}, TypeError, "FileAllowLists: 7 is not a path; write 'allow_lists.toml'"),
        ("lists.toml", {"poll": 0}, AllowListError, "poll: 0 is not a duration; write seconds, such as 30"),
        ("lists.toml", {"poll": "1"}, TypeError, "poll: '1' is not a number; write seconds, such as 30"),
        ("lists.toml", {"max_stale": -1}, AllowListError, "max_stale: -1 is not a duration; write seconds, such as 30"),
    ],
)
def test_options_that_make_no_sense(path: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        FileAllowLists(path, **options)
    assert str(raised.value) == message


async def test_a_directory_that_goes_away_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "etc"
    directory.mkdir()
    path = directory / "lists.json"
    path.write_text(text(BEFORE, ".json"))
    async with FileAllowLists(path, poll=0.1) as source:
        await anyio.sleep(0.2)
        directory.rename(tmp_path / "gone")
        with anyio.fail_after(5):
            while "cannot be watched" not in caplog.text:  # noqa: ASYNC110 - nothing else tells of it
                await anyio.sleep(0.01)
        await anyio.sleep(0.25)
        assert source.find("acme") == BEFORE
        directory.mkdir()
        path.write_text(text(AFTER, ".json"))
        await becomes(source, "acme", AFTER)
        path.write_text(text(BEFORE, ".json"))
        await becomes(source, "acme", BEFORE)
    assert caplog.text.count("cannot be watched") == 1


async def test_other_files_beside_it_do_not_matter(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with FileAllowLists(path, poll=30):
        await anyio.sleep(0.1)
        for number in range(20):
            (path.parent / "api.log").write_text(str(number))
            await anyio.sleep(0.01)
    assert "change detected" not in caplog.text


async def test_a_file_dated_in_the_future_is_read(path: Path) -> None:
    source = FileAllowLists(path, poll=0.01)
    future = path.stat().st_mtime + 3600
    path.write_text(text(AFTER))
    os.utime(path, (future, future))
    await becomes(source, "acme", AFTER)


async def test_a_look_up_does_not_wait_for_a_file_that_is_being_read(path: Path) -> None:
    source = FileAllowLists(path, poll=0.01)
    many = {f"client-{number}": ["192.0.2.1"] for number in range(10_000)}
    await anyio.sleep(0.02)
    path.write_text(dump(".toml", {"acme": ["192.0.2.2"], **many}))
    waits = []
    async with anyio.create_task_group() as group:
        group.start_soon(source.allow_list, "acme")
        await anyio.sleep(0.001)
        while source.find("acme") == BEFORE:
            began = anyio.current_time()
            assert await source.allow_list("acme") in (BEFORE, AFTER)
            waits.append(anyio.current_time() - began)
            await anyio.sleep(0.001)
    assert max(waits) < 0.1
    assert len(waits) > 10


@on_both_loops
async def test_each_answer_is_of_one_version(path: Path) -> None:
    clients = [f"client-{number}" for number in range(50)]
    versions = [dump(".json", {client: [f"192.0.2.{number}"] for client in clients}) for number in range(10)]
    path = path.with_suffix(".json")
    path.write_text(versions[0])
    async with FileAllowLists(path, poll=0.05) as source:
        for version in versions[1:]:
            new = path.with_suffix(".new")
            new.write_text(version)
            new.replace(path)
            with anyio.fail_after(5):
                expected = AllowList(json.loads(version)["clients"][clients[0]])
                while True:
                    found = {source.find(client) for client in clients}
                    assert len(found) == 1
                    if found == {expected}:
                        break
                    await anyio.sleep(0.001)


def test_lists_may_be_read_without_an_event_loop(path: Path) -> None:
    path.write_text("version = 1\nclients.partner = { anywhere = true }\n")
    source = FileAllowLists(str(path))
    assert source.find("partner") is ANYWHERE
    assert source.find("acme") is None


def test_a_file_that_is_written_to_all_the_time_is_left_alone(path: Path) -> None:
    stop = Event()

    def write() -> None:
        while not stop.wait(0.002):
            path.touch()

    writer = Thread(target=write)
    writer.start()
    try:
        with pytest.raises(AllowListError, match="it is written to all the time"):
            FileAllowLists(path)
    finally:
        stop.set()
        writer.join()
