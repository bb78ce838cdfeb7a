"""A node that has nothing of ours but a file: the controller hands it the runner, from wherever it was installed."""

from __future__ import annotations

import os
import tarfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcharvest.engine.runner_zip import RunnerFile
from hpcharvest.sandbox.world import BRISK, Recipe, World
from tests import worlds
from tests.worlds import Controller

RANGES = 12
STRICT_PYTHON = """\
#!/bin/sh
# A Python without any package, which can write neither beside itself nor beside the runner.
exec unshare {private} sh -c '
    for place in "$1" "$3"; do
        mount --bind "$place" "$place" && mount -o remount,ro,bind "$place" || exit 99
    done
    touch "$3" 2>/dev/null && exit 98
    python=$1/bin/python3
    shift
    exec "$python" "$@"
' sh "{bare}" "$@"
"""
CALLABLE = '''\
"""Does ranges, and says with what."""

import sys
from pathlib import Path

try:
    import pydantic
except ImportError:
    bare = True
else:
    bare = False


def run(given):
    """Do one range."""
    output = Path(given["output"])
    home = next(path for path in sys.path if path.endswith(".zip"))
    output.write_text(f"{given['eventRangeID']} {bare} {home}")
    return output
'''


def strict_python(folder: Path) -> Path:
    """Make a Python that knows nothing of hpcharvest."""
    bare = folder / "bare"
    venv.create(bare, symlinks=True)
    python = folder / "strict-python"
    python.write_text(STRICT_PYTHON.format(private="-m" if os.geteuid() == 0 else "-Urm", bare=bare))
    python.chmod(0o755)
    return python


def event_job(inside: World) -> int:
    """Give an event-service job to the server, and its number."""
    inputs = [inside.put_input(f"in.{worlds.next_number()}", b"events\n") for _ in range(2)]
    job: dict[str, Any] = worlds.job("", transformation="ranges", inputs=inputs, outputs=["HITS"])
    inside.submit_events(job, RANGES)
    return int(job["PandaID"])


def words_of(inside: World) -> str:
    """Give what the allocations' own processes said."""
    return "\n".join(one.read_text() for one in (inside.work / "sandbox" / "allocations").glob("*/stderr"))


def members(archive: Path) -> Iterator[str]:
    """Give what the members of an archive say, but for the list of them."""
    with tarfile.open(archive) as tar:
        for one in tar.getmembers():
            file = tar.extractfile(one)
            assert file is not None
            text = file.read().decode()
            if not text.startswith("{"):
                yield text


def test_whole_jobs_and_ranges_are_done_where_nothing_is_installed(tmp_path: Path) -> None:
    recipe = Recipe(
        nodes=2,
        patience=BRISK,
        software={"python": str(strict_python(tmp_path))},
        payload={
            "event_ranges": {"kind": "callable", "callable": "ranges:run", "expected_range_s": 1.0, "walltime_s": 600}
        },
    )
    with worlds.world(tmp_path, recipe, {"ranges.py": CALLABLE}) as inside:
        runner = RunnerFile(inside.work / "sandbox").path
        old = runner.with_name("runner-0123456789ab.zip")
        old.parent.mkdir(parents=True, exist_ok=True)
        old.touch()
        with Controller(inside):
            (whole,) = worlds.submit(inside, [worlds.job()])
            ranges = event_job(inside)
            worlds.eventually(lambda: worlds.all_over(inside), lambda: f"all over; {words_of(inside)}", 120.0)
            assert worlds.states(inside) == {whole: "finished", ranges: "finished"}
        assert inside.books()["events"]["finished_reports"] == RANGES
        scripts = (inside.work / "sandbox" / "allocations").glob("*/script.sh")
        assert all(f"strict-python -I {runner} " in one.read_text() for one in scripts)
        assert runner.stat().st_size > 100_000
        assert not old.exists()
        said = {line for one in inside.outputs.rglob("EventService_premerge_*") for line in members(one)}
        assert len(said) == RANGES
        assert all(line.endswith(f" True {runner}") for line in said)
