"""A pilot in PUSH mode, that does one whole job: what it is told before it is started, and what it says afterwards.

So does whatever else speaks panda-harvester's files.
Where the pilot's word and the facts differ, the facts count: finished is what ended with exit code 0, said so, and left
all the files that it spoke of.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpcharvest.errors import MessageNotUnderstood, UnsafeName
from hpcharvest.jumbo.access.point import AccessPoint
from hpcharvest.jumbo.folder import LONGEST_REPORT
from hpcharvest.jumbo.slots import words
from hpcharvest.messenger import harvester_files as names
from hpcharvest.messenger.harvester_files import Attributes, Entry, Kind, Status
from hpcharvest.model.ids import JobId
from hpcharvest.model.states import PayloadResult

_DUMPS: Final = re.compile(rf"{re.escape(names.DUMP)}({re.escape(names.TAKEN)}(\..+)?)?")
_FILES: Final = {Kind.OUTPUT, Kind.LOG}
VARIABLES: Final = ("HARVESTER_WORKDIR", "HARVESTER_ID", "HARVESTER_WORKER_ID", "PILOT_NOKILL")
"""What is in its environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a pilot said of its job, and what is to be made of it."""

    result: PayloadResult
    """DONE or FAILED."""
    reason: str = ""
    error_code: int = 0
    """The pilot's own; 0: it gave none."""
    outputs: tuple[Entry, ...] = ()
    """With absolute paths."""
    logs: tuple[Entry, ...] = ()
    """With absolute paths."""
    metadata: str = ""
    """Its jobReport.json, unread."""
    attributes: Attributes = dataclasses.field(default_factory=Attributes)


def environment(own: Mapping[str, str], wanted: Mapping[str, str], folder: str, worker: str) -> dict[str, str]:
    """Give the environment of a process that finds these files in `folder`; what the job wants counts more.

    By HARVESTER_ID and HARVESTER_WORKER_ID the pilot knows that it is one. Without PILOT_NOKILL it would kill, at its
    end, every process of its user whose parent is gone: the runner's own among them.
    """
    ours = dict(zip(VARIABLES, (folder, "hpcharvest", worker, "1"), strict=True))
    return {**own, **ours, **{name: wanted[name] for name in ours if name in wanted}}


def equip(folder: Path, job: JobId, text: str, inputs: Mapping[str, str]) -> None:
    """Write what the pilot is to know of its job into the folder in which it will be started.

    `text`: the server's own dictionary, as JSON. `inputs`: absolute paths by LFN. MessageNotUnderstood: the text is
    none. UnsafeName: an input is named as one of these files. OSError as it comes.
    """
    taken = sorted(inputs.keys() & names.NAMES)
    if taken:
        raise UnsafeName(f"an input is named as a file of the protocol: {', '.join(taken)}")
    point = AccessPoint(str(folder))
    dictionary = names.job_dictionary(job, text, inputs, {})
    point.put(names.CATALOG, names.write_catalog(inputs, dictionary))
    point.put(names.PANDA_IDS, names.write_panda_ids([job]))
    point.put(names.JOBS, names.write_job(job, dictionary))


def verdict_of(folder: Path, job: JobId, code: int, wanted: Mapping[str, Kind] | None = None) -> Said:
    """Read what a pilot left in its folder after its process has ended. OSError as it comes.

    `code`: its exit code, negative for a signal. `wanted`: the names of the job's outputs and log; of those that no
    dump speaks of, the first is taken that lies anywhere in the folder, as some pilots write no dump. Nobody writes
    there any more: what is torn now will never be whole.
    """
    point = AccessPoint(str(folder))
    try:
        found = point.read(names.ATTRIBUTES)
        attributes = names.read_attributes(found.text, names.ATTRIBUTES) if found else Attributes()
    except MessageNotUnderstood:
        attributes = Attributes()
    entries = [_absolute(entry, folder) for entry in _dumped(point, job)]
    told = {Path(entry.path).name for entry in entries if entry.kind in _FILES}
    entries += _searched(folder, {name: kind for name, kind in (wanted or {}).items() if name not in told})
    said = judge(attributes, entries, code, [entry.path for entry in entries if not _is_there(entry)])
    return dataclasses.replace(said, metadata=_report(point))


def bring(folder: Path, said: Said, wanted: Container[str | None]) -> None:
    """Bring wanted files that a pilot left deeper in its folder to where they are looked for. OSError as it comes.

    What lies elsewhere stays there: nobody will find it.
    """
    home = folder.resolve()
    for entry in (*said.outputs, *said.logs):
        path = Path(entry.path)
        place = folder / path.name
        if path.name in wanted and path != place and path.resolve().is_relative_to(home):
            path.rename(place)


def judge(attributes: Attributes, entries: Sequence[Entry], code: int, missing: Sequence[str]) -> Said:
    """Decide. `missing`: the paths of files that are not there, or not of the size that was said."""
    files = {entry.path: entry for entry in entries if entry.kind in _FILES}
    gone = [os.path.basename(path) for path in files if path in missing]  # noqa: PTH119  # texts
    reason = attributes.error
    if code:
        reason = f"the payload {words.ended(code)}{': ' if reason else ''}{reason}"
    elif not attributes.status:
        reason = "the payload ended well, but did not say what became of its job"
    elif attributes.status == Status.FAILED:
        reason = reason or "the payload says that its job failed"
    elif attributes.status != Status.FINISHED:
        reason = f"the payload ended when its job was {attributes.status!r:.40}"
    elif gone:
        reason = f"the payload says that its job is finished, but did not leave {', '.join(sorted(gone))}"
    else:
        reason = ""
    return Said(
        result=PayloadResult.FAILED if reason else PayloadResult.DONE,
        reason=reason,
        error_code=attributes.error_code,
        outputs=tuple(entry for entry in files.values() if entry.kind is Kind.OUTPUT),
        logs=tuple(entry for entry in files.values() if entry.kind is Kind.LOG),
        attributes=attributes,
    )


def _dumped(point: AccessPoint, job: JobId) -> Iterator[Entry]:
    """Give all that was ever dumped, the newest last."""
    with os.scandir(point.folder) as entries:
        found = sorted((one.name for one in entries if _DUMPS.fullmatch(one.name)), key=_age)
    for name in found:
        try:
            text = point.read(name)
            dump = names.read_dump(text.text, name) if text else None
        except MessageNotUnderstood:
            continue
        yield from dump.entries.get(job, ()) if dump else ()


def _age(name: str) -> tuple[int, str]:
    """Order dumps: those that were taken in, by their time; then the one that is being read; then the fresh one."""
    return (2 if name == names.DUMP else 1 if name == names.DUMP + names.TAKEN else 0, name)


def _searched(folder: Path, wanted: Mapping[str, Kind]) -> Sequence[Entry]:
    """Look for files in a folder and all that are in it; one that is not found would lie in the folder itself."""
    left, found = dict(wanted), []
    for place, _, inside in os.walk(folder) if left else ():
        for name in sorted(left.keys() & set(inside)):
            path = Path(place, name)
            found.append(Entry(path=str(path), kind=left.pop(name), size=path.lstat().st_size))
    return found + [Entry(path=str(folder / name), kind=kind) for name, kind in left.items()]


def _absolute(entry: Entry, folder: Path) -> Entry:
    return dataclasses.replace(entry, path=str(folder.absolute() / entry.path)) if entry.path else entry


def _is_there(entry: Entry) -> bool:
    try:
        about = Path(entry.path).lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(about.st_mode) and entry.size in {None, about.st_size}


def _report(point: AccessPoint) -> str:
    try:
        found = point.read(names.REPORT)
    except MessageNotUnderstood:
        return ""
    return found.text.decode(errors="replace") if found and len(found.text) <= LONGEST_REPORT else ""
