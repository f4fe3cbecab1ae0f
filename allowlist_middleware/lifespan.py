"""The lifespan of an application: it may be refused its start, and its source of allow lists is open while it runs."""

from __future__ import annotations

import inspect
import logging
from abc import ABCMeta
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from anyio import get_current_task
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allowlist_middleware.errors import AllowListError, quote_type
from allowlist_middleware.log_line import write

_COMPLETE: Final = "lifespan.startup.complete"
_FAILED: Final = "lifespan.startup.failed"
_ENDS: Final = frozenset(("lifespan.shutdown.complete", "lifespan.shutdown.failed"))


async def run_with_source(
    source: object, app: ASGIApp, scope: Scope, receive: Receive, send: Send, find_refusal: Callable[[], str]
) -> None:
    """Run the lifespan with the source open, if it is one that is opened: an async context manager.

    One that cannot be opened refuses the start. It is closed after the application has shut down and before the server
    is told so, because a server need not wait any longer than that.
    """
    task = get_current_task().id
    async with AsyncExitStack() as stack:
        refusal = await _open(source, stack)

        async def send_closed(message: Message) -> None:
            if message["type"] in _ENDS and get_current_task().id == task:
                await stack.aclose()
            await send(message)

        await run_lifespan(app, scope, receive, send_closed, lambda: refusal or find_refusal())


async def _open(source: object, stack: AsyncExitStack) -> str:
    """Return why the source cannot be opened, or nothing."""
    if isinstance(source, AbstractAsyncContextManager):
        try:
            await stack.enter_async_context(source)
        except AllowListError as refusal:
            return str(refusal)
        except Exception as error:  # noqa: BLE001 - whatever it is, it refuses the start
            write(logging.DEBUG, "allow_lists: the source cannot be opened", exc_info=True)
            # Not its message, which may hold the password of a database.
            return f"allow_lists: {quote_type(source)} cannot be opened: it raised {type(error).__qualname__}"
    return ""


async def run_lifespan(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, find_refusal: Callable[[], str]
) -> None:
    """Run the lifespan; after the application's own start-up a refusal is sent in place of its completion.

    It is sent and not raised: a server takes an exception here for an application without a lifespan, and starts. The
    application is then shut down, and what it says of that goes nowhere. For an application that has no lifespan, which
    raises or returns without a word, the refusal is sent all the same: the server would start.
    """
    is_received = is_answered = is_refused = False

    async def receive_checked() -> Message:
        nonlocal is_received
        if is_refused:
            return {"type": "lifespan.shutdown"}
        is_received = True
        return await receive()

    async def send_checked(message: Message) -> None:
        nonlocal is_answered, is_refused
        if is_refused:
            return
        if message["type"] == _COMPLETE and (refusal := find_refusal()):
            is_refused, message = True, {"type": _FAILED, "message": refusal}
        is_answered = True
        await send(message)

    async def is_refused_unasked() -> bool:
        nonlocal is_answered
        if is_answered or not (refusal := find_refusal()):
            return False
        is_answered = True
        if not is_received:
            await receive()
        await send({"type": _FAILED, "message": refusal})
        return True

    try:
        await app(scope, receive_checked, send_checked)
    except Exception:
        if not await is_refused_unasked():
            raise
    else:
        await is_refused_unasked()


class RefusedStart:
    """Stands where a middleware could not be made, in an application that a server is starting."""

    def __init__(self, mistake: Exception) -> None:
        self._mistake = mistake
        self._traceback = mistake.__traceback__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the refusal to start, where that is asked, and raise the mistake."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": _FAILED, "message": f"{type(self._mistake).__name__}: {self._mistake}"})
        raise self._mistake.with_traceback(self._traceback)  # without the frames of the calls before


class MadeLate(ABCMeta):
    """Makes a class whose mistakes refuse the start of the application that makes its instances while it starts.

    `add_middleware` only keeps the class and its options; the application makes the instance when the server starts it.
    What is raised there the server takes for an application without a lifespan: it would start, and every call fail.
    """

    if not TYPE_CHECKING:  # pragma: no branch - to type checkers the class is called as any other

        def __call__(cls, *args: Any, **options: Any) -> Any:
            """Make an instance, or what refuses the start of the application that was to hold it."""
            try:
                return super().__call__(*args, **options)
            except Exception as mistake:
                if not _is_starting():
                    raise
                return RefusedStart(mistake)

        @property
        def __signature__(cls) -> inspect.Signature:
            signature = inspect.signature(cls.__init__)
            return signature.replace(parameters=list(signature.parameters.values())[1:])


def _is_starting() -> bool:
    """Return whether an application that is being started makes its middleware, further up on the stack."""
    frame: Any = inspect.currentframe()
    callee = ""
    while frame is not None and frame.f_code is not Starlette.__call__.__code__:
        callee, frame = frame.f_code.co_name, frame.f_back
    return frame is not None and callee == "build_middleware_stack" and frame.f_locals["scope"]["type"] == "lifespan"
