"""Watching one file, through every symbolic link on the way to it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Final

import anyio
from watchfiles import Change, awatch

from allowlist_middleware.log_line import write

_MAX_LINKS: Final = 40  # as many as Linux follows
_STEP: Final = 50  # milliseconds without a change after which it is told


async def watch(path: Path, poll: float, stop: anyio.Event) -> AsyncGenerator[None, None]:
    """Yield whenever the file may have changed: soon after a change that can be watched, and every `poll` seconds.

    Editors and `mv` put another file in its place, Kubernetes exchanges a link above it: so it is the directories of
    the file and of all links to it that are watched, and the way is traced anew each time. Ends once `stop` is set.
    """
    is_watched = True
    while not stop.is_set():
        try:
            way = _trace(path)
            directories = _identify(way)
            async with aclosing(_changes(way, poll, stop)) as changes:
                async for _ in changes:
                    is_watched = True
                    yield
                    if _trace(path) != way or _identify(way) != directories:
                        break
        except Exception:  # noqa: BLE001 - a directory is gone, the system watches too much: looking at it is left
            if is_watched:
                write(logging.WARNING, f"allow lists: {path} cannot be watched; it is looked at every {poll:g} seconds")
            is_watched = False
            with anyio.move_on_after(poll):
                await stop.wait()
            yield


def _changes(way: list[Path], poll: float, stop: anyio.Event) -> AsyncGenerator[object, None]:
    names = {str(path) for path in way}

    def is_on_the_way(_: Change, path: str) -> bool:
        # Other files of the directory do not matter; one of them may be the log that watchfiles itself writes to.
        return path in names

    return awatch(
        *{path.parent for path in way},
        watch_filter=is_on_the_way,
        recursive=False,
        step=_STEP,
        stop_event=stop,
        rust_timeout=int(poll * 1000),
        yield_on_timeout=True,
    )


def _identify(way: list[Path]) -> list[tuple[int, int]]:
    """Return which directories they are: another one may have taken the place, and the name, of one that is watched."""
    statuses = [path.parent.stat() for path in way]
    return [(status.st_dev, status.st_ino) for status in statuses]


def _trace(path: Path) -> list[Path]:
    """Return every symbolic link on the way to a file, and where it ends."""
    way: list[Path] = []
    here, *steps = map(Path, Path(os.path.abspath(path)).parts)  # noqa: PTH100 - resolve() would follow the links
    steps.reverse()
    while steps:
        step = here / steps.pop()
        if not step.is_symlink() or len(way) == _MAX_LINKS:
            here = step
            continue
        way.append(step)
        target = here / step.readlink()
        here, *further = map(Path, Path(os.path.abspath(target)).parts)  # noqa: PTH100 - as above
        steps += reversed(further)
    return [*way, here]
