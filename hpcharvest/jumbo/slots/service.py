"""Payloads of the kind `service`: a long-lived process that asks for ranges, in AthenaMP's lines.

A range is done when the payload says so, its output is there as a regular file in the payload's folder, and nobody was
stopping it. A payload that ends while it has ranges has not done them, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpcharvest.errors import UnsafeName
from hpcharvest.jumbo.slot import NOT_ITS_DOING
from hpcharvest.jumbo.slots import lines, place, words
from hpcharvest.jumbo.slots.channel import LineChannel, PipeChannel, SocketChannel
from hpcharvest.jumbo.slots.child import Child, End
from hpcharvest.jumbo.slots.command import KILLED, LOG, OUT, OUT_OF_MEMORY, cannot_start, is_regular, last_words
from hpcharvest.jumbo.slots.pause import Pause
from hpcharvest.jumbo.slots.place import Place
from hpcharvest.jumbo.slots.slot import Done, Failed, Leased, Outcome
from hpcharvest.messenger.ranges import Channel, EventTask

log = logging.getLogger(__name__)

CHANNEL_VARIABLE: Final = "PILOT_EVENTRANGECHANNEL"
CORES_VARIABLE: Final = "ATHENA_PROC_NUMBER"
START_LIMIT_S: Final = 1800.0
"""A payload that has not asked for a range by then is stopped, and started again."""
FINISH_LIMIT_S: Final = 600.0
"""After it was told that there are no more, and has none, it is stopped."""
BARREN: Final = 3
"""After so many starts in a row that came to nothing, a range is taken to tell of it."""
MOST_ASKING: Final = 10_000
"""Words of sub-workers that they are ready: more are chatter."""
OTHER_SPEAKERS: Final = 64
"""Connections that a payload may have beside two for each of its cores."""
UNSENT_S: Final = 0.05
"""How soon to try again to send what the payload did not take."""
STOPPED_WITH_IT: Final = "its payload was stopped for the sake of another range"


class _Process:
    """One process of the payload, and what it speaks through."""

    def __init__(self, task: EventTask, where: Place, folder: str) -> None:
        """Start it. OSError, ValueError: there is none."""
        if not task.argv:
            raise ValueError("its command is empty")
        self.folder = folder
        self.asked: deque[int] = deque()
        """The speakers that wait for a range."""
        self.fruitful = False
        """Whether it ever asked for one."""
        self.oom_kills = where.oom_kills()
        self.why = ""
        Path(folder, OUT).mkdir(parents=True)
        most = 2 * max(1, task.cores) + OTHER_SPEAKERS
        self.channel: LineChannel = SocketChannel(folder, most) if task.channel is Channel.SOCKET else PipeChannel()
        try:
            self.child = self._started(task, where)
        except (OSError, ValueError):
            self.channel.started()
            self.channel.close()
            raise
        self.channel.started()

    def _started(self, task: EventTask, where: Place) -> Child:
        said = os.open(f"{self.folder}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            return Child(
                task.argv,
                mark=where.next_mark(),
                environment={
                    **where.environment,
                    CORES_VARIABLE: str(task.cores),
                    **({CHANNEL_VARIABLE: self.channel.variable} if self.channel.variable else {}),
                },
                folder=self.folder,
                stdin=self.channel.stdin,
                stdout=said if self.channel.stdout is None else self.channel.stdout,
                stderr=said,
            )
        finally:
            os.close(said)

    def note(self, chat: Sequence[str]) -> None:
        """Put lines that were none of the protocol's where the others of the payload are."""
        if chat:
            with contextlib.suppress(OSError), Path(self.folder, LOG).open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in chat)


class ServiceSlot:
    """One payload process at a time, with as many ranges as it asks for."""

    def __init__(self, task: EventTask, where: Place, *, rich: bool = False) -> None:
        """Take a place. `rich`: ranges are told with `output` and `seed`, which AthenaMP does not know."""
        self._task, self._place, self._rich = task, where, rich
        self._process: _Process | None = None
        self._held: dict[str, tuple[Leased, float]] = {}
        self._ready: list[Outcome] = []
        self._pause = Pause()
        self._trouble: tuple[str, bool] = ("", False)
        self._finishing = False
        self._barren = 0
        self._serial = 0
        self._deadline = math.inf
        self._now = 0.0

    @property
    def room(self) -> int:
        """How many sub-workers wait; 1 if there is trouble that has to be told."""
        if self._finishing:
            return 0
        if self._process and not self._process.child.stopped:
            return min(len(self._process.asked), max(0, 2 * max(1, self._task.cores) - len(self._held)))
        return 1 if not self._process and self._barren >= BARREN and not self._ready else 0

    @property
    def held(self) -> Sequence[Leased]:
        """What its payload has."""
        return [leased for leased, _ in self._held.values()]

    @property
    def over(self) -> bool:
        """Whether it takes no more, and nothing runs."""
        return self._finishing and self._process is None and not self._ready

    def give(self, leased: Leased, now: float) -> None:
        """Hand a range to a sub-worker that waits; if there is trouble, the range has failed by it."""
        if self._process is None:
            error, ours = self._trouble
            self._ready.append(Failed(leased=leased, error=error, wall_s=0.0, ours=ours))
            self._barren = BARREN - 1  # one range for each start in vain, and none before it
            return
        try:
            told = self._told(leased, self._process.folder)
        except UnsafeName as error:
            why = words.comparable(str(error), leased.range.id)
            self._ready.append(Failed(leased=leased, error=why, wall_s=0.0))
            return
        self._held[leased.range.id] = leased, now
        self._process.channel.send(self._process.asked.popleft(), lines.write([told]))

    def filenos(self) -> Sequence[int]:
        """Give what its payload speaks through."""
        return self._process.channel.filenos() if self._process else ()

    def next_event(self) -> float:
        """Steady seconds when something is due."""
        if self._ready:
            return -math.inf
        if self._process is None:
            return math.inf if self._finishing else self._pause.until
        soon = UNSENT_S if self._process.channel.waiting else math.inf
        return min(self._process.child.next_event, self._deadline, self._now + soon)

    def serve(self, now: float) -> Sequence[Outcome]:
        """Start, hear and bury the payload."""
        self._now = now
        if self._process is None and not self._finishing and self._pause.over(now):
            self._start(now)
        if self._process:
            self._hear(self._process, now)
            if now >= self._deadline:
                self._deadline = math.inf
                self._halt(self._process, "it kept silent for too long", now)
            if end := self._process.child.end(now):
                self._hear(self._process, now)  # its last words
                self._bury(self._process, end, now)
        ready, self._ready = self._ready, []
        return ready

    def finish(self, now: float) -> None:
        """Tell the payload that there are no more ranges."""
        if not self._finishing:
            self._finishing = True
            self._deadline = math.inf if self._held else now + FINISH_LIMIT_S
            if self._process:
                self._dismiss(self._process)

    def stop(self, ranges: Sequence[Leased], reason: str, now: float) -> None:
        """Stop the payload, if it has one of these, or is to have no more: one range cannot be stopped alone."""
        mine = [one for one in ranges if one.range.id in self._held]
        if not self._process or not (mine or self._finishing):
            return
        for one in mine:
            self._give_up(one, reason, now)
        for leased, _ in list(self._held.values()):
            self._give_up(leased, STOPPED_WITH_IT if mine else reason, now)
        self._halt(self._process, reason, now)

    def _give_up(self, leased: Leased, reason: str, now: float) -> None:
        """Take a range from the payload that is being stopped: whatever it says of it now does not count."""
        _, since = self._held.pop(leased.range.id)
        self._ready.append(Failed(leased=leased, error=reason, wall_s=now - since, ours=True))

    def _told(self, leased: Leased, folder: str) -> Mapping[str, Any]:
        name = place.output_name(self._task, leased.range)
        known = place.values(self._task, leased.range, f"{folder}/{OUT}/{name}")
        told: dict[str, Any] = {key: known[key] for key in ("eventRangeID", "LFN", "PFN", "GUID", "scope")}
        told |= {"startEvent": leased.range.start, "lastEvent": leased.range.last}
        if self._rich:
            told |= {"output": known["output"], "seed": place.seed(leased.range)}
            told |= {"PandaID": self._task.job, "taskID": self._task.task_id}
        return told

    def _start(self, now: float) -> None:
        self._serial += 1
        folder = f"{self._place.folder}/{self._serial}"
        try:
            self._process = _Process(self._task, self._place, folder)
        except (OSError, ValueError) as error:
            log.warning("job %s: no payload: %s", self._task.job, error)
            ours = isinstance(error, OSError) and (self._task.contained or error.errno in NOT_ITS_DOING)
            self._trouble = cannot_start(error), ours
            self._pause.failed(now)
            self._barren += 1
            self._place.discard(folder)
        else:
            self._deadline = now + START_LIMIT_S

    def _hear(self, process: _Process, now: float) -> None:
        chat = []
        for speaker, text in process.channel.receive():
            if text is None:
                process.asked = deque(one for one in process.asked if one != speaker)
                continue
            line = lines.read(text)
            if isinstance(line, lines.Ready):
                self._answer(process, speaker)
            elif line is None or line.id not in self._held:
                chat.append(text)
            elif not process.child.stopped:
                self._conclude(process, line, now)
        process.note(chat)

    def _answer(self, process: _Process, speaker: int) -> None:
        if not process.fruitful:
            process.fruitful = True
            self._deadline = math.inf
        if self._finishing:
            process.channel.send(speaker, lines.NO_MORE)
        elif len(process.asked) < MOST_ASKING:
            process.asked.append(speaker)

    def _conclude(self, process: _Process, line: lines.Output | lines.Error, now: float) -> None:
        leased, since = self._held.pop(line.id)
        wall_s = now - since
        if self._finishing and not self._held:
            self._deadline = now + FINISH_LIMIT_S
        if isinstance(line, lines.Error):
            said = words.comparable(line.text, line.id)
            error = f"{line.name}{': ' if said else ''}{said}"
            self._place.keep_log(leased, f"{process.folder}/{LOG}")
        else:
            output = f"{self._place.folder}/{self._serial}.{leased.index}.done"
            error = _take(line.path, process.folder, output)
            if not error:
                self._pause.succeeded()
                self._ready.append(Done(leased=leased, output=output, cpu_s=line.cpu_s, wall_s=wall_s))
                return
        self._ready.append(Failed(leased=leased, error=error, wall_s=wall_s))

    def _dismiss(self, process: _Process) -> None:
        while process.asked:
            process.channel.send(process.asked.popleft(), lines.NO_MORE)

    def _halt(self, process: _Process, why: str, now: float) -> None:
        process.why = process.why or why
        process.asked.clear()
        process.child.stop(now, self._place.grace_s)

    def _bury(self, process: _Process, end: End, now: float) -> None:
        """See how the payload ended, and what that means for the ranges that it had."""
        self._process, self._deadline = None, math.inf
        process.channel.close()
        self._place.bury(process.child.mark)
        said = words.comparable(last_words(f"{process.folder}/{LOG}")) if end.code else ""
        how = f"the payload {words.ended(end.code)}{': ' if said else ''}{said}"
        if process.child.stopped:
            how = f"the payload was stopped: {process.why}"
        elif end.code in KILLED and self._place.oom_kills() > process.oom_kills:
            how = OUT_OF_MEMORY
        ours = process.child.stopped and process.fruitful
        if not self._finishing:
            self._trouble = f"{how}, before it asked for a range", ours
            self._pause.failed(now)
            log.warning("job %s: %s; the next is started in %.1f s", self._task.job, how, self._pause.until - now)
        for leased, since in self._held.values():
            self._place.keep_log(leased, f"{process.folder}/{LOG}")
            self._ready.append(Failed(leased=leased, error=how, wall_s=now - since, ours=ours))
        self._held.clear()
        self._barren = 0 if process.fruitful else self._barren + 1
        self._place.discard(process.folder)


def _take(path: str, folder: str, target: str) -> str:
    """Take an output out of the payload's folder; say what is wrong with it, empty if nothing is."""
    path = os.path.join(folder, path)  # noqa: PTH118  # a relative one is of the folder
    try:
        inside = Path(path).parent.resolve(strict=True).is_relative_to(Path(folder).resolve())
    except (OSError, RuntimeError, ValueError):
        inside = False
    if not inside:
        return "the payload says that its output is where none can be"
    if not is_regular(path):
        return "the payload says that it is done, but there is no output"
    try:
        Path(path).rename(target)
    except OSError as error:
        return f"its output cannot be taken: {error.strerror}"
    return ""
