"""The rules of the house that no checker knows, tried on the tree; and that each rule sees what breaks it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.services.house import (
    ROOT,
    Rule,
    Source,
    bare_exemptions,
    broad_excepts,
    dead_references,
    either,
    imports,
    long_files,
    long_functions,
    machine_paths,
    shell_arguments,
    silent_excepts,
    unknown_commands,
    uses,
)

PACKAGE = ("hpcharvest/*.py",)
PYTHON = ("hpcharvest/*.py", "tests/*.py", "scripts/*")
EVERYTHING = ("hpcharvest/*", "tests/*", "scripts/*", "docs/*", "site_configs/*", ".ci/*", "*.md", "*.cfg", "*.toml")
WALL_CLOCKS: Final = ("time.time", "time.time_ns", "datetime.now", "datetime.datetime.now", "time.localtime")

RULES: Final[Mapping[str, Rule]] = {
    "no mocks": Rule(
        found=imports("unittest", "mock", "pytest_mock"),
        files=("tests/*.py",),
    ),
    "what is printed comes from cli/output.py": Rule(
        found=uses("print", "sys.stdout", "sys.stderr"),
        files=PACKAGE,
        but={
            "hpcharvest/cli/output.py": "the place for it",
            "hpcharvest/*/__main__.py": "programs of their own",
            "hpcharvest/cli/demo_data/*.py": "payloads: programs of their own",
            "hpcharvest/sandbox/batch/faces/voice.py": "the programs of faces",
        },
    ),
    "processes are started in few places": Rule(
        found=either(imports("subprocess", "multiprocessing", "pty"), uses("os.fork", "os.posix_spawn", "os.execv")),
        files=PACKAGE,
        but={
            "hpcharvest/apps/commands.py": "container engines, which pull images",
            "hpcharvest/cli/bench/*.py": "controllers, to be killed; heads and nodes, to be measured",
            "hpcharvest/cli/checks/container.py": "container engines, asked whether they are there",
            "hpcharvest/cli/checks/partners.py": "the runner's Python, asked whether it would do",
            "hpcharvest/cli/checks/software.py": "bash, asked to read a prologue; ls, which may hang on CVMFS",
            "hpcharvest/cli/demo/campaign.py": "a controller, kept running or killed",
            "hpcharvest/engine/sweeper.py": "rm, which removes trees out of our threads' way",
            "hpcharvest/jumbo/slot.py": "payloads, inside an allocation",
            "hpcharvest/jumbo/slots/channel.py": "only the word for no stdin",
            "hpcharvest/jumbo/slots/child.py": "payloads of event ranges, on a node",
            "hpcharvest/jumbo/tarball.py": "a child of the runner packs what is large",
            "hpcharvest/jumbo/agents.py": "the processes of event ranges on the nodes",
            "hpcharvest/jumbo/rank/launch.py": "the site's launcher, which starts head and nodes as ranks",
            "hpcharvest/jumbo/supervisor.py": "one head after another",
            "hpcharvest/providers/batch.py": "the batch system's commands",
            "hpcharvest/providers/saga.py": "radical.saga, tried at the start: it changes the process that imports it",
            "hpcharvest/sandbox/batch/cluster.py": "the embedded batch system's daemon",
            "hpcharvest/sandbox/batch/launch.py": "the embedded batch system's jobs",
            "hpcharvest/sandbox/slurm.py": "the daemons of a Slurm of our own, and its commands",
            "hpcharvest/sandbox/world.py": "the programs of a small world",
        },
    ),
    "nothing goes through a shell": Rule(
        found=either(
            shell_arguments,
            uses("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
            uses("asyncio.create_subprocess_shell"),
        ),
        files=PYTHON,
    ),
    "the environment is read in few places": Rule(
        found=uses("os.environ", "os.environb", "os.getenv", "os.putenv"),
        files=PACKAGE,
        but={
            "hpcharvest/cli/demo_data/generate_collisions.py": "a payload: the name of its node",
            "hpcharvest/config/loader.py": "what a configuration refers to",
            "hpcharvest/jumbo/__main__.py": "what the batch system tells the runner",
            "hpcharvest/sandbox/slurm.py": "what the daemons and commands of a Slurm of our own inherit",
            "hpcharvest/jumbo/head.py": "handed on to payloads",
            "hpcharvest/jumbo/node/__main__.py": "what the batch system tells the runner; handed on to payloads",
            "hpcharvest/jumbo/rank/__main__.py": "as the node's; handed on without what is the rank's own",
            "hpcharvest/jumbo/slots/worker.py": "a payload: where its ranges come from, and its modules",
            "hpcharvest/providers/survey/surroundings.py": "what a machine looks like, for a site file of it",
            "hpcharvest/sandbox/batch/client.py": "handed on to batch jobs, as batch systems do",
            "hpcharvest/sandbox/batch/faces/cobalt.py": "the columns that a user has chosen, as Cobalt does",
        },
    ),
    "the runner asks no clock that jumps": Rule(
        found=uses(*WALL_CLOCKS), files=("hpcharvest/jumbo/*", "hpcharvest/messenger/*")
    ),
    "SQL is known to the store only": Rule(
        found=imports("sqlalchemy", "alembic", "sqlite3", "psycopg"),
        files=PACKAGE,
        but={"hpcharvest/store/*": "the place for it"},
    ),
    "a file has at most 400 lines": Rule(found=long_files, files=PYTHON),
    "a function has at most 40 lines without its docstring": Rule(found=long_functions, files=PYTHON),
    "everything is caught at borders only": Rule(
        found=broad_excepts,
        files=PACKAGE,
        but={
            "hpcharvest/cli/demo_data/generate_collisions.py": "a payload: the other ranks would wait for ever",
            "hpcharvest/engine/allocations.py": "the border of a record: it must not take the closing one with it",
            "hpcharvest/engine/batch_jobs.py": "the border of a dialect, perhaps somebody else's: it needs an answer",
            "hpcharvest/engine/effects.py": "the border of a worker thread",
            "hpcharvest/engine/loop.py": "the border of an event: one that breaks must not silence the others",
            "hpcharvest/engine/reports.py": "the border of a request: one report must not silence its neighbours",
            "hpcharvest/engine/watch.py": "the border of a watching thread",
            "hpcharvest/jumbo/slots/worker.py": "a payload: the border of somebody else's function",
            "hpcharvest/jumbo/tarball.py": "the border of a thread",
            "hpcharvest/jumbo/wakes.py": "the border of a salvage: what a dead node left must not take the head along",
            "hpcharvest/jumbo/supervisor.py": "the border of a process",
            "hpcharvest/sandbox/api.py": "the border of a server: it says what broke and goes on",
        },
    ),
    "nothing is caught in silence": Rule(
        found=silent_excepts,
        files=PACKAGE,
        but={"hpcharvest/cli/demo_data/generate_collisions.py": "it has no log: it tells stderr, and aborts"},
    ),
    "an exemption from a check has its reason on its line": Rule(found=bare_exemptions, files=PYTHON),
    "no path of one machine": Rule(
        found=machine_paths,
        files=EVERYTHING,
        but={"tests/recordings/*": "what real systems answered, as it was: their users had homes"},
    ),
    "what is referred to is there": Rule(found=dead_references, files=("*.md",)),
    "commands that are written of are there": Rule(found=unknown_commands, files=("*.md",)),
}

BROKEN: Final = [
    ("no mocks", "tests/a.py", "from unittest import mock"),
    ("no mocks", "tests/a.py", "from unittest.mock import MagicMock"),
    ("what is printed comes from cli/output.py", "hpcharvest/a.py", "print(1)"),
    ("what is printed comes from cli/output.py", "hpcharvest/a.py", "import sys\nsys.stderr.write('')"),
    ("processes are started in few places", "hpcharvest/a.py", "import subprocess"),
    ("processes are started in few places", "hpcharvest/a.py", "def f():\n    from subprocess import run"),
    ("nothing goes through a shell", "tests/a.py", "run('ls', shell=True)"),
    ("nothing goes through a shell", "hpcharvest/a.py", "import os\nos.system('ls')"),
    ("the environment is read in few places", "hpcharvest/a/b.py", "import os\nos.environ['A']"),
    ("the environment is read in few places", "hpcharvest/a.py", "from os import getenv"),
    ("the runner asks no clock that jumps", "hpcharvest/jumbo/a/b.py", "import time\ntime.time()"),
    ("SQL is known to the store only", "hpcharvest/a.py", "import sqlalchemy.orm"),
    ("a file has at most 400 lines", "hpcharvest/a.py", "\n" * 401),
    ("a function has at most 40 lines without its docstring", "tests/a.py", "def f():" + "\n    pass" * 40),
    ("everything is caught at borders only", "hpcharvest/a.py", "try: f()\nexcept Exception: log.error('')"),
    ("everything is caught at borders only", "hpcharvest/a.py", "with suppress(ValueError, Exception): f()"),
    ("nothing is caught in silence", "hpcharvest/a.py", "try: f()\nexcept (OSError, BaseException): g()"),
    ("nothing is caught in silence", "hpcharvest/a.py", "try: f()\nexcept: pass"),
    ("an exemption from a check has its reason on its line", "tests/a.py", "x = 1  # " + "noqa: S105, E501"),
    ("an exemption from a check has its reason on its line", "tests/a.py", "x = 1  # " + "type: ignore[misc]"),
    ("no path of one machine", "docs/a.md", "see /" + "work/main/README.md"),
    ("no path of one machine", ".ci/run", "cd /" + "root"),
    ("what is referred to is there", "README.md", "run `scripts/nothing`"),
    ("what is referred to is there", "docs/a.md", "[here](nowhere.md#top)"),
    ("commands that are written of are there", "README.md", "try `hpcharvest fly`"),
    ("commands that are written of are there", "README.md", "```\n$ hpcharvest jobs fly 1\n```"),
]
KEPT: Final = [
    ("no mocks", "tests/a.py", "import unit"),
    ("what is printed comes from cli/output.py", "hpcharvest/a.py", "table.print(); pprint(1)"),
    ("nothing goes through a shell", "tests/a.py", "run(['ls'], shell=False)"),
    ("a file has at most 400 lines", "hpcharvest/a.py", "\n" * 400),
    ("a function has at most 40 lines without its docstring", "tests/a.py", 'def f():\n    """' + "\n" * 40 + '"""'),
    ("everything is caught at borders only", "hpcharvest/a.py", "try: f()\nexcept Exception as e: raise E from e"),
    ("nothing is caught in silence", "hpcharvest/a.py", "try: f()\nexcept Exception: log.exception('')"),
    ("an exemption from a check has its reason on its line", "tests/a.py", "x = 1  # " + "noqa: S105 - a test's"),
    ("no path of one machine", "docs/a.md", "/work/z19/me, $HOME/root and https://example.org/root"),
    ("what is referred to is there", "README.md", "`scripts/test`, [us](CONTRIBUTING.md), [there](https://x.org)"),
    ("commands that are written of are there", "README.md", "hpcharvest is ours\n```\nhpcharvest jobs list x\n```"),
]


@cache
def tree() -> tuple[Source, ...]:
    """Read the text files of the tree; what is only built or written by tools is none of it."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    for top in ("hpcharvest", "tests", "scripts", "docs", "site_configs", ".ci"):
        paths += (path for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return tuple(source for path in sorted(paths) if (source := _read(path)) is not None)


def _read(path: Path) -> Source | None:
    """Read a file; None: it is no text."""
    try:
        return Source(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return None


def broken(rule: Rule, source: Source) -> list[str]:
    """Give the places in a file that break a rule, if the rule looks at such files."""
    return [f"{source.path}:{line}" for line in rule.found(source)] if source.matches(rule.files) else []


@pytest.mark.parametrize("name", RULES)
def test_the_tree_keeps_the_rule(name: str) -> None:
    rule = RULES[name]
    looked_at = [source for source in tree() if not source.matches(tuple(rule.but))]
    places = [place for source in looked_at for place in broken(rule, source)]
    assert not places, "\n".join(places)


@pytest.mark.parametrize(("name", "exempt"), [(name, exempt) for name, rule in RULES.items() for exempt in rule.but])
def test_no_exemption_is_idle(name: str, exempt: str) -> None:
    assert any(broken(RULES[name], source) for source in tree() if source.matches((exempt,)))


@pytest.mark.parametrize(("name", "path", "text"), BROKEN)
def test_a_rule_sees_what_breaks_it(name: str, path: str, text: str) -> None:
    assert broken(RULES[name], Source(path, text))


@pytest.mark.parametrize(("name", "path", "text"), KEPT)
def test_a_rule_leaves_alone_what_keeps_it(name: str, path: str, text: str) -> None:
    assert broken(RULES[name], Source(path, text)) == []


def test_every_rule_is_seen_to_break() -> None:
    assert {name for name, _, _ in BROKEN} == RULES.keys()
