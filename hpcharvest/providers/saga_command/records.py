"""The folder in which it is kept what was submitted, since SAGA cannot find a batch job by its name everywhere.

Each batch job has a folder, named by its id: the tag, with `+2` and so on if a tag is used again. In it are

- `job.json`, the intent, written before the submission; `saga.json`, SAGA's own id, written after it;
- `start.sh`, what SAGA runs. It takes `start.0`, or the next number if the batch system starts it again, by a link that
  only one can make, and leaves its exit code in `end.0`. Who finds `start.0` revoked does not run;
- `cancelled`, that we asked for its end; `over.json`, how it ended, so that it is asked for no more.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpcharvest.providers.saga_command.judge import Marks, Said

REVOKED: Final = "revoked"
KEPT_S: Final = 7 * 86400.0
"""So long is kept what is over."""

START = """\
#!/bin/sh
# What SAGA runs, made by hpcharvest: takes a start that is nobody's, runs the batch script, keeps its exit code.
here={here}
began=$(date +%s)
claim="$here/claim.$(hostname).$$"
echo "$began" >"$claim" || exit 97
count=0
until ln "$claim" "$here/start.$count" 2>/dev/null; do
    [ -e "$here/start.$count" ] || exit 97
    [ "$(cat "$here/start.$count")" = {revoked} ] && exit 98
    count=$((count + 1))
done
rm -f "$claim"
hosts=${{PBS_NODEFILE:-${{COBALT_NODEFILE:-$LSB_DJOB_HOSTFILE}}}}
if [ -n "$SLURM_JOB_NODELIST" ]; then
    HPCHARVEST_SAGA_NODES=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)
elif [ -n "$hosts" ]; then
    HPCHARVEST_SAGA_NODES=$(sort -u "$hosts" | paste -sd, -)
elif [ -n "$LSB_HOSTS" ]; then
    HPCHARVEST_SAGA_NODES=$(printf '%s\\n' $LSB_HOSTS | sort -u | paste -sd, -)
else
    HPCHARVEST_SAGA_NODES=$(hostname)
fi
HPCHARVEST_SAGA_ID={id}
HPCHARVEST_SAGA_RESTART=$count
HPCHARVEST_SAGA_DEADLINE=$((began + {walltime_s}))
export HPCHARVEST_SAGA_NODES HPCHARVEST_SAGA_ID HPCHARVEST_SAGA_RESTART HPCHARVEST_SAGA_DEADLINE
{timeouts} bash {script} >{stdout} 2>{stderr} &
child=$!
trap 'kill -TERM $child' TERM INT
wait $child
code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
echo "$code $(date +%s)" >"$here/end.new" && mv "$here/end.new" "$here/end.$count"
exit $code
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for: the intent of a submission."""

    tag: str
    script: Path
    nodes: int
    cores: int
    """Cores of a node."""
    walltime_s: int
    warning_s: int = 0
    """Send SIGUSR1 so many seconds before the walltime is over; 0: do not."""
    queue: str = ""
    project: str = ""
    attributes: tuple[str, ...] = ()
    """More of SAGA's job description, each as NAME=VALUE; a value may be JSON."""


class Record:
    """The folder of one batch job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        """The batch id."""
        return self.folder.name

    @property
    def tag(self) -> str:
        """Its name in the batch system."""
        return str(_read(self.folder / "job.json").get("tag", ""))

    @property
    def saga_id(self) -> str:
        """SAGA's own id; empty: it is not known."""
        return str(_read(self.folder / "saga.json").get("id", ""))

    @saga_id.setter
    def saga_id(self, value: str) -> None:
        _write(self.folder / "saga.json", {"id": value})

    @property
    def over(self) -> Said | None:
        """How it ended, if that was said since its newest start."""
        kept = _read(self.folder / "over.json")
        return Said(state=kept["state"], words=kept["words"]) if kept.get("starts") == self._starts() else None

    @over.setter
    def over(self, said: Said) -> None:
        _write(self.folder / "over.json", {"state": said.state, "words": said.words, "starts": self._starts()})

    @property
    def revoked(self) -> bool:
        """Whether it was kept from starting."""
        return _text(self.folder / "start.0") == REVOKED

    @property
    def submitted_at(self) -> float:
        """When the intent was written."""
        return (self.folder / "job.json").stat().st_mtime

    def marks(self) -> Marks:
        """Read what it left."""
        newest = self._starts() - 1
        began, end = _text(self.folder / f"start.{newest}"), _text(self.folder / f"end.{newest}").split()
        revoked = self.revoked
        return Marks(
            walltime_s=int(_read(self.folder / "job.json").get("walltime_s", 0)),
            began=float(began) if began and not revoked else None,
            ended=float(end[1]) if end else None,
            code=int(end[0]) if end else 0,
            cancelled=revoked or (self.folder / "cancelled").exists(),
            revoked=revoked,
        )

    def revoke(self) -> bool:
        """Keep it from starting; tell whether it had not begun yet."""
        note = self.folder / f"claim.{REVOKED}.{os.getpid()}"
        note.write_text(f"{REVOKED}\n")
        try:
            os.link(note, self.folder / "start.0")
        except FileExistsError:
            return self.revoked
        finally:
            note.unlink()
        return True

    def note_cancelled(self) -> None:
        """Keep in mind that we ask for its end."""
        (self.folder / "cancelled").touch()

    def remove(self) -> None:
        """Forget it. Without `start.sh` a batch job that is still there ends at once."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _starts(self) -> int:
        count = 0
        while (self.folder / f"start.{count}").exists():
            count += 1
        return count


class Records:
    """All of them, in one folder that the nodes see too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[Record]:
        """Give each, the oldest first."""
        if self.folder.is_dir():
            found = (one.parent for one in self.folder.glob("*/job.json"))
            yield from map(Record, sorted(found, key=lambda one: (one.joinpath("job.json").stat().st_mtime_ns, one)))

    def of(self, tag: str) -> list[Record]:
        """Give those with this tag, the oldest first."""
        return [one for one in self if one.tag == tag]

    def begin(self, wish: Wish) -> Record:
        """Write down the intent of a submission, and what is to be run."""
        count = 1
        while True:
            folder = self.folder / (wish.tag if count == 1 else f"{wish.tag}+{count}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                count += 1
            else:
                break
        (folder / "start.sh").write_text(_start(folder, wish))
        _write(folder / "job.json", {"tag": wish.tag, "walltime_s": wish.walltime_s, "nodes": wish.nodes})
        return Record(folder)

    def prune(self, now: float) -> None:
        """Remove what was over long ago."""
        oldest = now - KEPT_S
        for one in self:
            over = one.folder / "over.json"
            if over.exists() and over.stat().st_mtime < oldest and one.over:
                one.remove()


def _start(folder: Path, wish: Wish) -> str:
    place = wish.script.parent
    return START.format(
        here=shlex.quote(str(folder)),
        id=shlex.quote(folder.name),
        walltime_s=wish.walltime_s,
        timeouts=" ".join(_timeouts(wish)),
        script=shlex.quote(str(wish.script)),
        stdout=shlex.quote(str(place / "stdout")),
        stderr=shlex.quote(str(place / "stderr")),
        revoked=REVOKED,
    )


def _timeouts(wish: Wish) -> Iterator[str]:
    """Give the words that end a script with its walltime, on whatever SAGA reaches, and warn it before.

    The end is for all its processes, which are in one group then; the warning is for the script alone.
    """
    yield f"timeout --kill-after=30 {wish.walltime_s}"
    early = wish.walltime_s - wish.warning_s
    if wish.warning_s and early > 0:
        yield f"timeout --foreground --preserve-status --signal=USR1 {early}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _read(path: Path) -> Mapping[str, Any]:
    text = _text(path)
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)


def attributes(texts: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE, a value as JSON where it is that. ValueError if there is no `=`."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{text!r} is not NAME=VALUE, with a name of SAGA's job description")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found
