"""A payload that takes event ranges as AthenaMP does: a mother process that asks for its sub-workers, which are forked.

    athenamp.py [behaviour …]

It is written from the description of the protocol, and shares no code with what it is served by. Behaviours:
`pipes` speak over stdin and stdout; `die:N` end with 3 when N ranges came; `mute` never ask; `err:TEXT` every second
range fails; `lie` tell of outputs that are not there; `outside` leave outputs elsewhere; `comma` have commas and colons
in paths; `chat` say other things too; `deaf` go on after there are no more, and ignore SIGTERM; `slow` take long.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any


class Mother:
    def __init__(self, behaviours: list[str]) -> None:
        self.behaviours = dict(one.partition(":")[::2] for one in behaviours)
        if "pipes" in self.behaviours:
            self.ear, self.mouth = 0, os.dup(1)
        else:
            channel = socket.socket(socket.AF_UNIX)
            channel.connect(os.environ["PILOT_EVENTRANGECHANNEL"])
            self.ear = self.mouth = channel.detach()
        self.free = int(os.environ["ATHENA_PROC_NUMBER"])
        self.workers: dict[int, int] = {}
        self.came = 0
        self.heard = b""
        self.more = True

    def say(self, text: str) -> None:
        os.write(self.mouth, text.encode() + b"\n")

    def run(self) -> int:
        if "deaf" in self.behaviours:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "chat" in self.behaviours:
            self.say("ERR_ATHENAMP something without a range")
            self.say("INFO hello")
        for _ in range(0 if "mute" in self.behaviours else self.free):
            self.say("Ready for events")
        while self.more or self.workers or "deaf" in self.behaviours:
            heard, _, _ = select.select([self.ear, *self.workers] if self.more else list(self.workers), [], [], 0.5)
            for one in heard:
                if one == self.ear:
                    self.hear()
                else:
                    self.collect(one)
            if self.came >= int(self.behaviours.get("die", 1 << 30)):
                return 3
        return 0

    def hear(self) -> None:
        piece = os.read(self.ear, 65536)
        if not piece:
            sys.exit(4)
        self.heard += piece
        *lines, self.heard = self.heard.split(b"\n")
        for line in lines:
            if line.startswith(b"["):
                (one,) = json.loads(line)
                self.came += 1
                self.start(one)
            else:
                assert line == b"No more events", line
                self.more = False

    def start(self, one: dict[str, Any]) -> None:
        ear, mouth = os.pipe()
        if not os.fork():
            os.write(mouth, self.work(one).encode())
            os._exit(0)
        os.close(mouth)
        self.workers[ear] = 1

    def work(self, one: dict[str, Any]) -> str:
        name = one["eventRangeID"]
        if "slow" in self.behaviours:
            time.sleep(600)
        if "err" in self.behaviours and one["startEvent"] % 2:
            return f"ERR_ATHENAMP_PROCESS {name}: {self.behaviours['err']}"
        folder = Path("a,b:c,ID:x") if "comma" in self.behaviours else Path()
        folder = Path("..", "elsewhere") if "outside" in self.behaviours else folder
        folder.mkdir(exist_ok=True)
        path = (folder / f"out.{name}").absolute()
        if "lie" not in self.behaviours:
            path.write_text(f"{one['PFN']} {one['startEvent']} {one['lastEvent']}\n")
        return f"{path},ID:{name},CPU:1.5,WALL:2"

    def collect(self, ear: int) -> None:
        said = b""
        while piece := os.read(ear, 65536):
            said += piece
        os.close(ear)
        os.wait()
        del self.workers[ear]
        self.say(said.decode())
        self.say("Ready for events")


if __name__ == "__main__":
    sys.exit(Mother(sys.argv[1:]).run())
