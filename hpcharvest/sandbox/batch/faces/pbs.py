"""The face of PBS Professional: qsub, qstat, qdel, qselect, pbsnodes and pbs_rstat, as OpenPBS 23.06 was recorded.

What the embedded batch system has not, such as holds, job arrays and dependencies, is refused by qsub. As in the
recordings, `qstat -f -F json` tells of the first of several ids only, and gives numbers for variables that look like
one. Not on record, and so a guess: how a job ends that is preempted by deletion, or loses a node and may not run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import UnreachableError
from hpcharvest.sandbox.batch.faces import pbs_nodes, pbs_reservations, pbs_submit, pbs_tables
from hpcharvest.sandbox.batch.faces.pbs_jobs import attributes, letter
from hpcharvest.sandbox.batch.faces.pbs_words import (
    SERVER,
    VERSION,
    CommandError,
    as_json,
    as_text,
    fail,
    head,
    number_of,
    read_options,
    show,
)
from hpcharvest.sandbox.batch.faces.voice import refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hpcharvest.sandbox.batch.faces import Command

    Job = Mapping[str, Any]

DOWN = 162
_UNKNOWN, _HISTORY, _NO_QUEUE = 153, 35, 170
ALL_JOBS: dict[str, Any] = {"op": "status", "ids": None, "history_s": None}
_KNOWN = "fJptxEF:wD:airHTu:nsGM1QqBl"
_USAGE = """\
usage:\x20
qstat [-f] [-J] [-p] [-t] [-x] [-E] [-F format | -w] [-D delim] [ job_identifier... | destination... ]
qstat [-a|-i|-r|-H|-T] [-J] [-t] [-u user] [-n] [-s] [-G|-M] [-1] [-w]
\t[ job_identifier... | destination... ]
qstat -Q [-f] [-F format] [-D delim] [ destination... ]
qstat -q [-G|-M] [ destination... ]
qstat -B [-f] [-F format] [-D delim] [ server_name... ]
qstat --version
"""


def qsub(spool: Path, argv: Sequence[str]) -> int:
    """Submit a script; print the id."""
    show([pbs_submit.qsub(spool, argv)])
    return 0


def qstat(spool: Path, argv: Sequence[str]) -> int:
    """Tell about jobs or queues."""
    options, words = read_options("qstat", argv, _KNOWN, _USAGE)
    chosen = dict(options)
    if "f" in chosen and chosen.keys() & set("uaisHTrn"):
        raise CommandError(2, f"qstat: conflicting options.\n{_USAGE}")
    in_json = chosen.get("F") == "json"
    try:
        info, jobs = client.ask(spool, {"op": "info"}), client.ask(spool, ALL_JOBS)
    except UnreachableError as error:
        show([as_json(head())] if in_json else [])
        text = f"Connection refused\nqstat: cannot connect to server {SERVER} (errno=15010)"
        raise CommandError(255, text) from error
    if "Q" in chosen:
        pbs_tables.queues(info, jobs, full="f" in chosen, in_json=in_json)
        return 0
    if "B" in chosen:
        pbs_tables.server(info, jobs, full="f" in chosen, in_json=in_json)
        return 0
    found, errors = find(jobs, words, ended="x" in chosen or "H" in chosen)
    refuse(*(f"qstat: {text}" for text, _ in errors))
    if in_json:
        found = found[: 1 if words else None]
        said = {f"{job['id']}.{SERVER}": attributes(job, info) for job in found}
        show([as_json(head() | ({"Jobs": said} if said else {}))])
    elif "f" in chosen:
        for job in found:
            show([f"Job Id: {job['id']}.{SERVER}", *as_text(attributes(job, info)), ""])
    elif chosen.keys() & set("aisHTrnu"):
        pbs_tables.detailed(found, info, chosen)
    else:
        pbs_tables.short(found)
    return errors[-1][1] if errors else 0


def find(jobs: Sequence[Job], words: Sequence[str], *, ended: bool) -> tuple[list[Job], list[tuple[str, int]]]:
    """Find the jobs of these ids, all without any; and say, with an exit code, what is wrong with the others."""
    if not words:
        return [job for job in jobs if ended or letter(job) != "F"], []
    known = {job["id"]: job for job in jobs}
    found: list[Job] = []
    errors: list[tuple[str, int]] = []
    for word in words:
        number = number_of(word)
        job = known.get(number) if number is not None else None
        if number is None:
            errors.append((f"Unknown queue destination {word}", _NO_QUEUE))
        elif job is None:
            errors.append((f"Unknown Job Id {number}.{SERVER}", _UNKNOWN))
        elif letter(job) == "F" and not ended:
            text = "Job has finished, use -x or -H to obtain historical job information"
            errors.append((f"{number}.{SERVER} {text}", _HISTORY))
        else:
            found.append(job)
    return found, errors


def qdel(spool: Path, argv: Sequence[str]) -> int:
    """End jobs."""
    _, words = read_options("qdel", argv, "W:x", "usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n")
    return cancel(spool, words, unknown="Unknown Job Id {id}", finished="Job has finished {id}")


def cancel(spool: Path, words: Sequence[str], *, unknown: str, finished: str) -> int:
    """End the jobs of these ids, and complain of the others in these words; give the exit code."""
    known = {job["id"]: job for job in ask(spool, "qdel", ALL_JOBS)}
    code, live = 0, []
    for word in words:
        number = number_of(word)
        job = known.get(number) if number is not None else None
        if job is not None and letter(job) != "F":
            live.append(number)
            continue
        complaint = unknown if job is None else finished
        named = f"{word.partition('.')[0]}.{SERVER}"
        code = refuse(f"qdel: {complaint.format(id=named)}", code=_UNKNOWN if job is None else _HISTORY)
    if live:
        ask(spool, "qdel", {"op": "cancel", "ids": live})
    return code


def qselect(spool: Path, argv: Sequence[str]) -> int:
    """Print the ids of jobs: of a state, a name, a user, a queue."""
    options, _ = read_options("qselect", argv, "N:q:s:u:x", "usage: qselect [-N name] [-q q] [-s s] [-u u] [-x]\n")
    chosen = dict(options)
    jobs, _ = find(ask(spool, "qselect", ALL_JOBS), [], ended="x" in chosen)
    wanted: dict[str, Callable[[Job], bool]] = {
        "s": lambda job: letter(job) in chosen["s"],
        "N": lambda job: bool(job["name"] == chosen["N"]),
        "q": lambda job: bool(job["queue"] == chosen["q"]),
        "u": lambda _: pbs_submit.user() in chosen["u"].split(","),
    }
    tests = [test for name, test in wanted.items() if name in chosen]
    show(f"{job['id']}.{SERVER}" for job in jobs if all(test(job) for test in tests))
    return 0


def pbsnodes(spool: Path, argv: Sequence[str]) -> int:
    """Tell about nodes."""
    pbs_nodes.pbsnodes(spool, argv)
    return 0


def pbs_rstat(spool: Path, argv: Sequence[str]) -> int:
    """Tell about reservations."""
    options, words = read_options("pbs_rstat", argv, "fFBS", "usage:\n\tpbs_rstat [-fFBS] [reservation-id]\n")
    for word in words:
        raise CommandError(1, f"pbs_rstat: illegally formed reservation identifier: {word}")
    info = ask(spool, "pbs_rstat", {"op": "info"})
    pbs_reservations.show_all(spool, info["limits"]["cores_per_node"], full=("f", "") in options)
    return 0


def ask(spool: Path, program: str, request: Mapping[str, Any]) -> Any:
    """Ask the embedded batch system; CommandError if it is away."""
    try:
        return client.ask(spool, dict(request))
    except UnreachableError as error:
        text = f"Connection refused\n{program}: cannot connect to server {SERVER} (errno=15010)"
        raise CommandError(DOWN, text) from error


def guarded(command: Command) -> Command:
    """Make a command of a face: what it raises is said, and becomes its exit code."""

    def run(spool: Path, argv: Sequence[str]) -> int:
        try:
            return command(spool, argv)
        except CommandError as error:
            return fail(error)

    return run


def _with_version(command: Callable[[Path, Sequence[str]], int]) -> Callable[[Path, Sequence[str]], int]:
    """Let a command tell its version, which all of PBS do without asking the server."""

    def run(spool: Path, argv: Sequence[str]) -> int:
        if list(argv) != ["--version"]:
            return command(spool, argv)
        show([f"pbs_version = {VERSION}"])
        return 0

    return run


COMMANDS = {
    command.__name__: _with_version(guarded(command)) for command in (qsub, qstat, qdel, qselect, pbsnodes, pbs_rstat)
}
