"""ACME Batch, the batch system of the example in `docs/adding.md`: its commands, with the embedded one behind them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import BatchError, UnreachableError

ROOT = Path(__file__).parents[2]
NO_DAEMON = 3
WORDS = {
    "PENDING": "waiting",
    "RUNNING": "active",
    "COMPLETED": "done",
    "FAILED": "error",
    "TIMEOUT": "overtime",
    "PREEMPTED": "bumped",
    "NODE_FAIL": "nodelost",
    "CANCELLED": "deleted",
}
PROGRAM = """\
#!/bin/sh
PYTHONPATH={root} exec {python} -m tests.services.acme {spool} {name} "$@"
"""
HEAD = """\
export HPCHARVEST_VIRTUAL_NODES=1 ACME_JOB="${HPCHARVEST_BATCH_JOBID%%+*}" ACME_STARTS="$HPCHARVEST_BATCH_RESTART"
export ACME_HOSTFILE="$PWD/hosts"
printf '%s\\n' "$HPCHARVEST_BATCH_NODELIST" | tr , '\\n' >"$ACME_HOSTFILE"
"""


def install(spool: Path, folder: Path) -> dict[str, str]:
    """Put the programs into a folder; give the environment in which they are found."""
    folder.mkdir()
    words = {"root": shlex.quote(str(ROOT)), "python": shlex.quote(sys.executable), "spool": shlex.quote(str(spool))}
    for name in COMMANDS:
        program = folder / name
        program.write_text(PROGRAM.format(name=name, **words))
        program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def main(argv: Sequence[str]) -> int:
    spool, name, *arguments = argv
    try:
        COMMANDS[name](Path(spool), arguments)
    except UnreachableError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return NO_DAEMON
    except BatchError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0


def _sub(spool: Path, arguments: Sequence[str]) -> None:
    script = Path(arguments[0])
    first, *rest = script.read_text().splitlines(keepends=True)
    given = dict(line.removeprefix("#ACME ").rstrip("\n").split(" ", 1) for line in rest if line.startswith("#ACME "))
    wishes: dict[str, Any] = {
        "name": given["name"],
        "nodes": int(given["nodes"]),
        "walltime": float(given["seconds"]),
        "output": given["stdout"],
        "error": given["stderr"],
        "signal": given.get("warn"),
        "queue": given.get("queue"),
        "requeue": False,
        "cwd": str(script.parent),
    }
    asked = client.submission(script, **wishes)
    sys.stdout.write(f"{client.ask(spool, {**asked, 'script': first + HEAD + ''.join(rest)})}\n")


def _stat(spool: Path, arguments: Sequence[str]) -> None:
    del arguments
    sys.stdout.write("Welcome to ACME Batch\n")
    for row in client.ask(spool, {"op": "status", "ids": None, "history_s": None}):
        sys.stdout.write(f"{row['id']}|{row['name']}|{WORDS[row['state']]}|{row['reason'] or ''}\n")


def _del(spool: Path, arguments: Sequence[str]) -> None:
    client.ask(spool, {"op": "cancel", "ids": [int(one) for one in arguments]})


COMMANDS: dict[str, Callable[[Path, Sequence[str]], None]] = {"acmesub": _sub, "acmestat": _stat, "acmedel": _del}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
