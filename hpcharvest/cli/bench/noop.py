"""Jobs that do next to nothing: a process that copies its input to its output, and notes that it ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcharvest.sandbox.jobs import InputFile, make_job
from hpcharvest.sandbox.world import QUEUE, World

CONTENT = b"one small file, the same for every job\n" * 25
COUNTED = """\
#!/bin/sh
echo "$1" >> "{executions}"
sleep "$4"
exec cp "$2" "$3"
"""
"""A payload that appends its job's number to a file: one line in one write, so that every execution is counted."""


def plain(folder: Path) -> Path:
    """Make a folder of transformations in which `copy` is the system's own `cp`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "copy").symlink_to("/bin/cp")
    return folder


def counted(folder: Path, executions: Path) -> Path:
    """Make a folder of transformations in which `counted_copy` leaves a line in `executions` each time it runs."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "counted_copy"
    script.write_text(COUNTED.format(executions=executions))
    script.chmod(0o755)
    executions.touch()
    return folder


def copy_jobs(world: World, first: int, count: int) -> list[dict[str, Any]]:
    """Give `count` jobs from PandaID `first` on, each with one input and one output and no log."""
    return [
        _job(number, world.put_input(f"in.{number}.dat", CONTENT), "copy", f"in.{number}.dat out.{number}.dat")
        for number in range(first, first + count)
    ]


def counted_jobs(world: World, first: int, count: int, seconds: float, max_walltime: int = 30) -> list[dict[str, Any]]:
    """Give jobs like `copy_jobs` that count their executions and last for `seconds`."""
    return [
        _job(
            number,
            world.put_input(f"in.{number}.dat", CONTENT),
            "counted_copy",
            f"{number} in.{number}.dat out.{number}.dat {seconds:g}",
            max_walltime,
        )
        for number in range(first, first + count)
    ]


def _job(number: int, file: InputFile, transformation: str, parameters: str, max_walltime: int = 30) -> dict[str, Any]:
    return make_job(
        number,
        site=QUEUE,
        transformation=transformation,
        job_pars=parameters,
        inputs=[file],
        outputs=[f"out.{number}.dat"],
        max_walltime=max_walltime,
    )
