"""Allow lists in a TOML or JSON file, which may be changed while the application runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from time import monotonic, sleep, time
from types import MappingProxyType, TracebackType
from typing import Final, Self, TypeAlias

import anyio
from anyio import get_current_task, to_thread
from anyio.abc import TaskGroup

from allowlist_middleware.errors import AllowListError, quote
from allowlist_middleware.log_line import write
from allowlist_middleware.networks import AllowList
from allowlist_middleware.sources.documents import parse_json, parse_toml
from allowlist_middleware.sources.readiness import Readiness, SourceError
from allowlist_middleware.sources.terms import parse_seconds
from allowlist_middleware.sources.watching import watch

_PARSERS: Final[Mapping[str, Callable[[bytes], dict[str, AllowList]]]] = MappingProxyType(
    {".toml": parse_toml, ".json": parse_json}
)
_SETTLED: Final = 0.05  # seconds without a write after which a file counts as written
_MAX_WAITS: Final = 20

Stamp: TypeAlias = tuple[int, ...]


class FileAllowLists:
    """The allow lists of a TOML or JSON file, by its suffix; the newest readable version of it.

    The file is read here, and watched while the application's lifespan or an `async with` runs; where neither does, a
    look-up looks at it every `poll` seconds, which is also the longest a change can go unnoticed while it is watched.
    A new version is parsed as a whole and swapped in one step. While the file is missing, empty or wrong, the lists
    stay as they were, for `max_stale` seconds or, by default, for as long as that takes; then look-ups fail.

    Raises `AllowListError` that names the file, the line and what to write instead.
    """

    def __init__(self, path: str | os.PathLike[str], *, poll: float = 1.0, max_stale: float | None = None) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"FileAllowLists: {quote(path)} is not a path; write 'allow_lists.toml'")
        self._path = Path(path)
        if self._path.suffix not in _PARSERS:
            raise AllowListError(f"FileAllowLists: {quote(str(path))} is neither .toml nor .json; name it so")
        self._parse = _PARSERS[self._path.suffix]
        self._poll = parse_seconds("poll", poll)
        self._max_stale = float("inf") if max_stale is None else parse_seconds("max_stale", max_stale)
        self._stamp: Stamp | None = None
        self._failure = ""
        self._failed_at = 0.0
        self._is_looking = False
        self._looked_at = monotonic()
        self._group: TaskGroup | None = None
        self._stop = anyio.Event()
        self._owner = self._depth = 0
        try:
            self._lists = self._read() or {}
        except (AllowListError, OSError) as error:
            raise AllowListError(f"FileAllowLists: {_explain(self._path, error)}") from None

    def find(self, client_id: str) -> AllowList | None:
        """Return the list of a client as the file last told it, `None` for an unknown one."""
        return self._lists.get(client_id)

    async def allow_list(self, client_id: str) -> AllowList | None:
        """Return what `find` returns; raises `SourceError` where the file has been unreadable for too long."""
        if self._group is None and monotonic() - self._looked_at >= self._poll and not self._is_looking:
            await self._look()
        if self._failure and monotonic() - self._failed_at > self._max_stale:
            raise SourceError(f"{self._failure}, for longer than {self._max_stale:g} seconds")
        return self._lists.get(client_id)

    async def client_ids(self) -> list[str]:
        """Return the ids of all clients, in the order of the file; raises `SourceError` as a look-up does."""
        await self.allow_list("")  # looks at the file where nothing watches it
        return list(self._lists)

    async def readiness(self) -> Readiness:
        """Return whether the lists are those of the file."""
        if not self._failure:
            return Readiness.FRESH
        return Readiness.STALE if monotonic() - self._failed_at <= self._max_stale else Readiness.UNAVAILABLE

    async def __aenter__(self) -> Self:
        me = get_current_task().id
        if self._group is None:
            self._owner, self._stop = me, anyio.Event()
            self._group = await anyio.create_task_group().__aenter__()
            self._group.start_soon(self._follow, self._stop)
        self._depth += self._owner == me
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A task group is left by the task that entered it. Where others share the source, it is looked at on look-ups.
        if self._group is None or get_current_task().id != self._owner:
            return
        self._depth -= 1
        if not self._depth:
            group, self._group = self._group, None
            self._stop.set()
            await group.__aexit__(kind, error, trace)

    async def _follow(self, stop: anyio.Event) -> None:
        async with aclosing(watch(self._path, self._poll, stop)) as changes:
            async for _ in changes:
                await self._look()

    async def _look(self) -> None:
        """Read the file if it has changed; one at a time, and in a thread."""
        self._is_looking = True
        try:
            lists = await to_thread.run_sync(self._read)
        except Exception as error:  # noqa: BLE001 - whatever it is, the lists read before stay in force
            self._fail(_explain(self._path, error))
        else:
            if lists is not None:
                self._lists, self._failure = lists, ""
                write(logging.INFO, f"allow lists: read {len(lists)} clients from {self._path}")
        finally:
            self._is_looking, self._looked_at = False, monotonic()

    def _fail(self, failure: str) -> None:
        if failure != self._failure:
            write(logging.ERROR, f"allow lists: {failure}; the lists read before stay in force")
        if not self._failure:
            self._failed_at = monotonic()
        self._failure = failure

    def _read(self) -> dict[str, AllowList] | None:
        """Return the lists of the file, `None` if it is the one that was read last."""
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return None
            data, self._stamp = _read_settled(self._path)
        except OSError:
            self._stamp = None
            raise
        return self._parse(data)


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_settled(path: Path) -> tuple[bytes, Stamp]:
    """Return the bytes of a file nobody is writing to, as far as that shows."""
    for _ in range(_MAX_WAITS):
        before, data, after = _stamp(path), path.read_bytes(), _stamp(path)
        if before == after and not 0 <= time() - after[-1] / 1e9 < _SETTLED:
            return data, after
        sleep(_SETTLED)
    raise OSError("it is written to all the time")


def _explain(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: there is no such file"
    if isinstance(error, OSError):
        return f"{path}: {error.strerror or error}"
    return f"{path}: {error}" if isinstance(error, AllowListError) else f"{path}: {type(error).__qualname__}"
