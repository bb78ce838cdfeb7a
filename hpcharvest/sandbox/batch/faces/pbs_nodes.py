"""pbsnodes of PBS: what it says of the embedded batch system's nodes, queues and reservations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpcharvest.sandbox.batch import client
from hpcharvest.sandbox.batch.errors import UnreachableError
from hpcharvest.sandbox.batch.faces.pbs_jobs import vnodes
from hpcharvest.sandbox.batch.faces.pbs_submit import submission_of
from hpcharvest.sandbox.batch.faces.pbs_words import (
    SERVER,
    VERSION,
    CommandError,
    as_json,
    as_text,
    head,
    read_options,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_USAGE = "Usage:\n\tpbsnodes [-{c|o|r}][-C comment] node_name1 ...\n\tpbsnodes -l\n\tpbsnodes -a[S[j]] [-F format]\n"
_MEMORY = "16gb"
_FIRST_PORT = 15_912
_HEAD = """\
                                                        mem       ncpus   nmics   ngpus
vnode           state           njobs   run   susp      f/t        f/t     f/t     f/t   jobs
--------------- --------------- ------ ----- ------ ------------ ------- ------- ------- -------"""


def pbsnodes(spool: Path, argv: Sequence[str]) -> None:
    """Tell about nodes: `-a`, `-l`, `-aSj`, names, each in JSON if wanted."""
    options, names = read_options("pbsnodes", argv, "acC:D:F:HjlLorsS:v".replace("S:", "S"), _USAGE)
    chosen = dict(options)
    try:
        info = client.ask(spool, {"op": "info"})
        jobs = client.ask(spool, {"op": "status", "ids": None, "history_s": None})
    except UnreachableError as error:
        text = f"Connection refused\npbsnodes: cannot connect to server {SERVER}, error=15010"
        raise CommandError(1, text) from error
    nodes = {node["name"]: _node(at, node, jobs, info) for at, node in enumerate(info["nodes"])}
    for name in names:
        if name not in nodes:
            raise CommandError(1, f"Node: {name},  Error: Unknown node ")
    wanted = {name: node for name, node in nodes.items() if not names or name in names}
    if "l" in chosen:
        down = {name: node for name, node in wanted.items() if "down" in node["state"]}
        show(f"{name:<20} {node['state']} {node.get('comment', '')}".rstrip() for name, node in down.items())
    elif "S" in chosen:
        _summary(wanted, in_json="F" in chosen)
    elif "F" in chosen:
        show([as_json(head() | {"nodes": wanted})])
    else:
        show(_plain(wanted))


def _node(
    at: int, node: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], info: Mapping[str, Any]
) -> dict[str, Any]:
    holders = [job for job in jobs if job["state"] == "RUNNING" and node["name"] in job["nodes"]]
    cores, taken, exclusive = node["cores"], 0, False
    for job in holders:
        submission = submission_of(job)
        taken += vnodes(job, submission, cores).count(node["name"]) * submission.shape.ncpus
        exclusive = "excl" in submission.shape.place
    state = "job-exclusive" if exclusive else "job-busy" if taken >= cores else "free"
    name, down = node["name"], node["state"] == "down"
    return {
        "Mom": name,
        "Port": _FIRST_PORT + 2 * at,
        "pbs_version": VERSION,
        "ntype": "PBS",
        "state": "down" if down else state,
        "pcpus": info["limits"]["cores_per_node"],
        **({"jobs": [f"{job['id']}.{SERVER}" for job in holders]} if holders else {}),
        "resources_available": {"arch": "linux", "host": name, "mem": _MEMORY, "ncpus": cores, "vnode": name},
        "resources_assigned": {"ncpus": taken} if taken else {},
        **({"comment": "node down: communication closed"} if down else {}),
        "resv_enable": "True",
        "sharing": "default_shared",
        "license": "l",
        "last_state_change_time": int(max((job["start_time"] for job in holders), default=0)),
    }


def _summary(nodes: Mapping[str, Mapping[str, Any]], *, in_json: bool) -> None:
    rows = {name: _row(node) for name, node in nodes.items()}
    if in_json:
        show([as_json(head() | {"nodes": rows})])
        return
    show(_HEAD.splitlines())
    for name, row in rows.items():
        counts = f"{row['Total Jobs']:>6} {row['Running Jobs']:>5} {row['Suspended Jobs']:>6}"
        shares = f"{row['mem f/t']:>12} {row['ncpus f/t']:>7} {row['nmics f/t']:>7} {row['ngpus f/t']:>7}"
        show([f"{name:<15} {row['State']:<15} {counts} {shares} {','.join(row['jobs']) or '--'}"])


def _row(node: Mapping[str, Any]) -> dict[str, Any]:
    jobs = [job.partition(".")[0] for job in node.get("jobs", [])]
    cores = node["resources_available"]["ncpus"]
    free = cores - node["resources_assigned"].get("ncpus", 0)
    return {
        "State": node["state"],
        "Total Jobs": len(jobs),
        "Running Jobs": len(jobs),
        "Suspended Jobs": 0,
        "mem f/t": f"{_MEMORY}/{_MEMORY}",
        "ncpus f/t": f"{free}/{cores}",
        "nmics f/t": "0/0",
        "ngpus f/t": "0/0",
        "jobs": jobs,
    }


def _plain(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, node in nodes.items():
        yield name
        yield from as_text({key: ", ".join(one) if key == "jobs" else one for key, one in node.items()}, "     ")
        yield ""
