"""Reservations as pbs_rstat tells of them. The embedded batch system has none and keeps to none: a file makes them up.

`reservations.json` in the spool folder: a list of `{"number", "name", "start", "duration_s", "nodes"}`, with `start` in
seconds since the epoch and `nodes` a list of names.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch.faces.pbs_submit import user
from hpcharvest.sandbox.batch.faces.pbs_words import SERVER, show, when
from hpcharvest.sandbox.batch.faces.voice import clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE = "reservations.json"
_DAY_S = 86_400
_HEAD = """\
Resv ID    Queue    User     State             Start / Duration / End{blank}
---------------------------------------------------------------------""".format(blank=" " * 14)


def show_all(spool: Path, cores: int, *, full: bool) -> None:
    """Print all reservations, in a table or with all that is to be said; nothing if there are none."""
    path = spool / FILE
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    if found and not full:
        show(_HEAD.splitlines())
    for one in found:
        show([*_whole(one, cores), ""] if full else [_row(one)])


def _row(one: Mapping[str, Any]) -> str:
    start, end = _moment(one["start"]), _moment(one["start"] + one["duration_s"])
    name, owner = f"R{one['number']}", f"{user()}@{SERVER}"
    who = f"{f'{name}.{SERVER}':<10.10} {name:<8.8} {owner:<8} {_state(one)[0]:<5}"
    return f"{who} {start:>17} / {one['duration_s']} / {end:<17}"


def _whole(one: Mapping[str, Any], cores: int) -> Iterator[str]:
    nodes, owner, end = one["nodes"], user(), one["start"] + one["duration_s"]
    _, state, substate = _state(one)
    select = f"{len(nodes)}:ncpus={cores}"
    told = {
        "Reserve_Name": one["name"],
        "Reserve_Owner": f"{owner}@{SERVER}",
        "reserve_state": state,
        "reserve_substate": substate,
        "reserve_start": when(one["start"]),
        "reserve_end": when(end),
        "reserve_duration": one["duration_s"],
        "queue": f"R{one['number']}",
        "Resource_List.ncpus": len(nodes) * cores,
        "Resource_List.nodect": len(nodes),
        "Resource_List.select": select,
        "Resource_List.place": "scatter",
        "Resource_List.walltime": clock(one["duration_s"]),
        "schedselect": select,
        "resv_nodes": "+".join(f"({node}:ncpus={cores})" for node in nodes),
        "Authorized_Users": f"{owner}@{SERVER}",
        "server": SERVER,
        "ctime": when(one["start"]),
        "mtime": when(one["start"]),
        "Variable_List": "PBS_O_HOST=localhost",
        "euser": owner,
        "egroup": owner,
        "reserve_count": 1,
        "Submit_Host": SERVER,
        "partition": "pbs-default",
    }
    yield f"Resv ID: R{one['number']}.{SERVER}"
    for name, value in told.items():
        yield f"{name} = {value}"


def _state(one: Mapping[str, Any]) -> tuple[str, str, int]:
    running = one["start"] <= time.time()
    return ("RN", "RESV_RUNNING", 5) if running else ("CO", "RESV_CONFIRMED", 2)


def _moment(moment: float) -> str:
    """Give a moment in short: of today by the hour, else by the day too."""
    then, now = time.localtime(moment), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("Today %H:%M", then)
    near = abs(moment - time.time()) < 6 * _DAY_S
    return time.strftime("%a %H:%M" if near else "%a %b %d %Y %H:%M", then)
