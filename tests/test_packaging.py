"""What is installed with the package, and what importing it brings in."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import resources
from importlib.metadata import requires, version
from pathlib import Path

import allowlist_middleware
from tests.readme import README

CHANGELOG = Path(README.parent, "CHANGELOG.md").read_text(encoding="utf-8")

COME_WITH_STARLETTE = {"anyio", "idna", "python_multipart", "sniffio", "starlette", "typing_extensions"}
IMPORTED = """
import sys
before = set(sys.modules)
import allowlist_middleware
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""


def test_importing_the_package_brings_in_starlette_and_what_that_needs() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)

    assert "starlette" in done.stdout.split()
    assert set(done.stdout.split()) <= COME_WITH_STARLETTE | {"allowlist_middleware"}


def test_nothing_else_is_required() -> None:
    required = [line for line in requires("allowlist_middleware") or () if "extra ==" not in line]

    assert sorted(re.split(r"[^\w-]", line)[0] for line in required) == ["starlette", "typing-extensions"]


def test_type_checkers_find_the_types() -> None:
    assert resources.files("allowlist_middleware").joinpath("py.typed").is_file()


def test_the_version_is_the_one_installed() -> None:
    assert version("allowlist_middleware") == allowlist_middleware.__version__


def test_the_readme_knows_every_public_name() -> None:
    text = README.read_text(encoding="utf-8")

    assert [name for name in allowlist_middleware.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_every_release_in_the_changelog_tells_of_security_first() -> None:
    for release in CHANGELOG.split("\n## ")[1:]:
        assert re.findall(r"^### (\w+)$", release, re.MULTILINE)[0] == "Security"
