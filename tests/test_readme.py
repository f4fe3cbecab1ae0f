"""What the README shows, run as its reader would: each section in a directory and a terminal of its own."""

from __future__ import annotations

import itertools
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allowlist_middleware.policy import Rule, Standing, decide
from tests.programs import find_free_port, needs, wait_for_port
from tests.readme import README, read_blocks, write_modules

pytest.importorskip("fastapi")

ROOT = README.parent
TEXT = README.read_text(encoding="utf-8")
BLOCKS = read_blocks()
SECTIONS = {name: list(blocks) for name, blocks in itertools.groupby(BLOCKS, key=lambda block: block.section)}

REQUEST_ID = re.compile(r'(request_id(?:=|":"))[2-9a-z]{16}')
PORT = "8000"

OPERATIONS = {
    "any": set(Rule),
    "ignores the list": {Rule.IGNORES},
    "respects the list": {Rule.REQUIRES_CLIENT, Rule.RESPECTS},
    "respects the list, client required": {Rule.REQUIRES_CLIENT},
    "respects the list, client not required": {Rule.RESPECTS},
    "none: a 404, a 405 or a redirect of the framework": {Rule.NO_OPERATION},
}
CALLERS = {
    ("has a list", "on it"): {Standing.ON_LIST},
    ("`ANYWHERE`", "any"): {Standing.ANYWHERE},
    ("has a list", "not on it"): {Standing.NOT_ON_LIST},
    ("has a list", "cannot be determined"): {Standing.ADDRESS_UNKNOWN},
    ("look-up failed", "any"): {Standing.LOOKUP_FAILED},
    ("not known", "any"): {Standing.UNKNOWN_CLIENT},
    ("credentials unreadable", "any"): {Standing.UNREADABLE},
    ("none", "any"): {Standing.NO_CLIENT},
    ("any", "any"): set(Standing) - {Standing.ON_LIST, Standing.ANYWHERE},
}
END = "-- end of output --"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a directory with the virtual environment, the examples, and the files the README says to save."""
    write_modules(tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".curlrc").write_text("no-progress-meter\n", encoding="utf-8")  # as in a terminal
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("app", "api"):
        sys.modules.pop(name, None)


@pytest.fixture
def shell(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Have a shell in that directory; what is left running in it ends with it."""
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc"],
        cwd=directory,
        env={**os.environ, "CURL_HOME": str(directory)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


def sections(language: str) -> list[Any]:
    """Return the names of the sections that hold blocks of a language, marked with the program they need."""
    marks = [needs("curl")] if language == "console" else []
    names = dict.fromkeys(block.section for block in BLOCKS if block.language == language)
    return [pytest.param(name, marks=marks) for name in names]


@pytest.mark.parametrize("section", sections("python"))
@pytest.mark.usefixtures("directory")
def test_the_code_of_a_section_runs(section: str) -> None:
    namespace = {"__name__": "readme"}
    for block in SECTIONS[section]:
        if block.language == "python":
            padding = "\n" * (block.line - 1)  # so that a traceback shows the line of the README
            exec(compile(padding + block.text, README, "exec", dont_inherit=True), namespace)


@pytest.mark.parametrize("section", sections("console"))
def test_the_commands_of_a_section_print_what_is_shown(section: str, shell: subprocess.Popen[str]) -> None:
    port = str(find_free_port())
    for block in SECTIONS[section]:
        if block.language == "console":
            assert type_commands(block.text, shell, port) == block.text.splitlines()


def type_commands(text: str, shell: subprocess.Popen[str], port: str) -> list[str]:
    """Return the block as it looks if its commands are typed.

    What differs from run to run, the port and request ids, is taken from the block; a line `...` there stands for any
    number of lines.
    """
    seen = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        printed = [line.replace(port, PORT) for line in type_command(command.replace(PORT, port), shell)]
        seen += [f"$ {command}", *(shown if is_like(printed, shown) else printed)]
    return seen


def is_like(printed: list[str], shown: list[str]) -> bool:
    pattern = "".join(r"(.*\n)*" if line == "..." else re.escape(f"{without_id(line)}\n") for line in shown)
    return re.fullmatch(pattern, "".join(f"{without_id(line)}\n" for line in printed)) is not None


def without_id(line: str) -> str:
    return REQUEST_ID.sub(r"\1", line)


def type_command(command: str, shell: subprocess.Popen[str]) -> list[str]:
    """Return the lines a command prints; a server left in the background is listening then."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    print(command, file=shell.stdin, flush=True)
    if command.endswith("&"):
        wait_for_port(int(command.partition("--port ")[2].split()[0]))
    print(f"echo; echo '{END}'", file=shell.stdin, flush=True)
    lines = itertools.takewhile(lambda line: line != f"{END}\n", shell.stdout)
    return "".join(lines).rstrip("\n").splitlines()


def test_the_table_is_the_one_that_decides() -> None:
    verdicts = {}
    table = TEXT.partition("| operation | client | address | outcome | reason |\n")[2].partition("\n\n")[0]
    for row in table.splitlines()[1:]:
        operation, client, address, outcome, reason = row.strip("| ").split(" | ")
        status_code = None if outcome.startswith("pass") else int(outcome[:3])
        for pair in itertools.product(OPERATIONS[operation], CALLERS[client, address]):
            verdicts[pair] = (reason.strip("`"), status_code)

    assert verdicts == {pair: decide(*pair) for pair in itertools.product(Rule, Standing)}


def test_every_code_block_is_of_a_kind_that_is_run() -> None:
    # `sh` blocks set up a fresh clone: .ci/run takes them from here and runs them in one.
    assert {block.language for block in BLOCKS} == {"sh", "python", "console", "nginx"}


def test_the_set_up_is_two_commands_and_each_is_one_line_to_copy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [block.text for block in BLOCKS if block.language == "sh"]

    assert [command.split()[0] for command in commands] == ["python3", "uv", "python3", "uv"]
    assert all(command.count("\n") == 1 for command in commands)
    run_parser(monkeypatch)
    assert capsys.readouterr().out == "".join(commands)


def test_the_python_code_of_each_section_can_be_had_as_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_parser(monkeypatch, str(tmp_path))

    assert (tmp_path / "app.py").read_text(encoding="utf-8").startswith("# app.py\n")
    assert len(list(tmp_path.iterdir())) == len(SECTIONS)


def run_parser(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the parser of the README as .ci/run does."""
    monkeypatch.setattr(sys, "argv", ["readme.py", *arguments])
    runpy.run_path(str(ROOT / "tests" / "readme.py"), run_name="__main__")


def test_the_first_command_stands_within_twenty_lines() -> None:
    assert BLOCKS[0].language == "sh"
    assert BLOCKS[0].line <= 20


def test_the_nginx_directives_are_those_of_the_example() -> None:
    example = (ROOT / "examples" / "behind_nginx.py").read_text(encoding="utf-8")
    for block in BLOCKS:
        if block.language == "nginx":
            assert all(line in example for line in block.text.splitlines())
