"""An application named on the command line, imported as uvicorn imports it."""

from __future__ import annotations

import inspect
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any


class Unusable(Exception):  # noqa: N818 - it names what was given, the caller's mistake and not ours
    """What the command was given cannot be used; the message is one line that says what, where and what to write."""


def load_app(target: str, *, app_dir: str = "", factory: bool = False) -> Any:
    """Return the application `module:attribute` names, looked for from `app_dir` on; a factory is called.

    What it prints meanwhile goes to standard error. Raises `Unusable`.
    """
    module, colon, attributes = target.partition(":")
    if not (module and colon and attributes):
        raise Unusable(f"{target}: not 'module:attribute'; write the one that uvicorn serves, such as main:app")
    sys.path.insert(0, app_dir)
    with redirect_stdout(sys.stderr):
        app = _find(target, module, attributes)
        if factory:
            app = _call(target, app)
    if not callable(app) or not _takes(app, 3):
        hint = "; pass --factory if it returns one" if callable(app) and _takes(app, 0) else ""
        raise Unusable(f"{target}: {type(app).__qualname__} is not an ASGI application{hint}")
    return app


def _find(target: str, module: str, attributes: str) -> Any:
    try:
        found: Any = import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            hint = "name the directory it is in with --app-dir"
            raise Unusable(f"{target}: there is no module {error.name!r}; {hint}") from error
        raise Unusable(f"{target}: importing {module} raised {describe_error(error)}") from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise Unusable(f"{target}: {module} has no attribute {attributes!r}")
        found = getattr(found, attribute)
    return found


def _call(target: str, factory: Any) -> Any:
    if not callable(factory):
        raise Unusable(f"{target}: {type(factory).__qualname__} is not a factory; leave out --factory")
    try:
        return factory()
    except (Exception, SystemExit) as error:
        raise Unusable(f"{target}: calling it raised {describe_error(error)}") from error


def _takes(function: Any, count: int) -> bool:
    """Return whether it can be called with so many arguments, as far as that can be told."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # a signature that cannot be read
        return True
    return True


def describe_error(error: BaseException) -> str:
    """Return an error as one line: its type and what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__
