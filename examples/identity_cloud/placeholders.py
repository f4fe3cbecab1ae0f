"""Operations that authenticate their caller and answer `{"stat": "ok"}`: what they would do is not about the lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Annotated, Any

from fastapi import APIRouter, Path

from examples.identity_cloud.answers import Ok


def placeholder(router: APIRouter, method: str, path: str, dependencies: Sequence[Any] = ()) -> Callable[..., Any]:
    """Add a placeholder to a router and return its endpoint, which may be annotated."""

    async def endpoint(**_: str) -> Ok:
        return Ok()

    names = re.findall(r"{(\w+)}", router.prefix + path)
    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[str, Path()]) for name in names]
    vars(endpoint)["__signature__"] = Signature(parameters, return_annotation=Ok)
    endpoint.__name__ = endpoint.__qualname__ = "_".join(re.findall(r"\w+", f"{method.lower()} {path}"))
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        dependencies=dependencies,
        summary=path.rpartition("/")[2].strip("{}"),
        description="A placeholder: it authenticates its caller and answers ok.",
    )
    return endpoint
