"""A real Slurm of our own: several slurmd on this host, all in one folder, on loopback, gone afterwards.

For the demonstration, the benchmarks and the tests. Debian's packages have the programs. It has its own munge, and with
`accounting` its own MariaDB and slurmdbd. Its clients find it by the variable SLURM_CONF alone, so that a Slurm of the
host's is never spoken to.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

logger = logging.getLogger(__name__)

_PROGRAMS: Final = {
    "slurm-wlm": ("slurmctld", "slurmd", "sbatch", "squeue", "sacct"),
    "munge": ("munged",),
    "slurmdbd": ("slurmdbd",),
    "mariadb-server": ("mariadbd", "mariadb-install-db"),
}
_UP_S: Final = 60.0
START_TRIES: Final = 3
_DATABASE_OPTIONS: Final = (
    "--no-defaults",
    "--user=root",
    "--innodb-log-file-size=8M",
    "--innodb-flush-log-at-trx-commit=0",
)

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[controller]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=1
MessageTimeout=4
MinJobAge=600
SlurmdTimeout=8
{accounting}
{nodes}
PartitionName=regular Nodes=ALL Default=YES MaxTime=1-00:00:00 OverSubscribe=EXCLUSIVE PriorityTier=10 PreemptMode=OFF
PartitionName=debug Nodes=n1,n2 MaxTime=00:30:00 MaxNodes=2 OverSubscribe=EXCLUSIVE PriorityTier=10 PreemptMode=OFF
PartitionName=preempt Nodes=ALL MaxTime=04:00:00 OverSubscribe=EXCLUSIVE PriorityTier=1 PreemptMode=REQUEUE
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cores} RealMemory=1000 State=UNKNOWN"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[accounting]}
AccountingStoragePass={folder}/munge.socket"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
QOS: Final = {
    "requeued": ("PreemptMode=requeue",),
    "cancelled": ("PreemptMode=cancel",),
    "urgent": ("Preempt=requeued,cancelled", "Priority=1000"),
    "few": ("MaxSubmitJobsPerUser=2", "MaxWall=00:30:00"),
}
"""Qualities of service, each with its rules."""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[accounting]}
CommunicationParameters=NoInAddrAny
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[database]}
StorageUser=tester
StoragePass=tester
"""
GRANT = """\
CREATE USER 'tester'@'%' IDENTIFIED BY 'tester';
GRANT ALL ON *.* TO 'tester'@'%';
"""


def why_not() -> str | None:
    """Tell why there can be no Slurm here; None if there can."""
    missing = [package for package, names in _PROGRAMS.items() if not all(map(_program, names))]
    if missing:
        return f"Slurm's programs are not all installed (apt-get install {' '.join(missing)})"
    return None if os.geteuid() == 0 else "Slurm's daemons want to be started by root"


@dataclass(kw_only=True)
class Slurm:
    """A cluster of nodes n1, n2, ..., with the partitions regular, debug (n1 and n2, 30 minutes) and preempt."""

    folder: Path
    nodes: tuple[str, ...]
    cores: int = 4
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a client must find in its environment."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *argv: str) -> str:
        """Run a command of Slurm's, and give what it printed; CalledProcessError if it failed."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self.start("slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self.wait(lambda: "is UP" in self.run("scontrol", "ping"), "slurmctld answers")

    def start_node(self, name: str) -> None:
        """Start a node's slurmd, and wait until it can be used."""
        self.start(f"slurmd {name}", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))
        self.wait(lambda: self.node_state(name) in {"idle", "alloc", "mix", "allocated", "mixed"}, f"{name} is there")

    def start_missing_nodes(self) -> None:
        """Start the slurmd of every node that has none."""
        for name in self.nodes:
            if f"slurmd {name}" not in self.daemons:
                self.start_node(name)

    def nodes_of(self, batch_id: str) -> list[str]:
        """Give the nodes of a running batch job."""
        names = self.run("squeue", "--noheader", f"--jobs={batch_id}", "--format=%N").strip()
        return self.run("scontrol", "show", "hostnames", names).split()

    def node_state(self, name: str) -> str:
        """Give Slurm's word for the state of a node; an asterisk at its end: it does not answer."""
        return self.run("sinfo", "-h", "-n", name, "-o", "%T", "-p", "regular").strip()

    def kill(self, daemon: str) -> None:
        """End a daemon (`slurmctld`, `slurmdbd`, or `slurmd n1`) as a crash does."""
        self.daemons[daemon].kill()
        self.daemons.pop(daemon).wait()

    def stop(self, daemon: str) -> None:
        """End a daemon in good order. slurmctld keeps all it knows; after a crash it may lack the last seconds."""
        self.daemons[daemon].terminate()
        self.daemons.pop(daemon).wait(timeout=_UP_S)

    def start(self, name: str, *arguments: str) -> None:
        """Start a daemon, and do not wait."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [str(_program(name.split(maxsplit=1)[0])), *arguments],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds, which it does not while it fails. RuntimeError with all logs if it never does."""
        give_up_at = time.monotonic() + _UP_S
        while time.monotonic() < give_up_at:
            with suppress(subprocess.CalledProcessError, OSError):
                if holds():
                    return
            if any(daemon.poll() is not None for daemon in self.daemons.values()):
                break
            time.sleep(0.1)
        logs = [f"{one.name}:\n{one.read_text(errors='replace')[-1500:]}" for one in sorted(self.folder.glob("*.log"))]
        raise RuntimeError(f"not in {_UP_S:g} s, or a daemon has ended: {what}\n" + "\n".join(logs))

    def close(self) -> None:
        """End all daemons, the newest first, and then who is still in their folder, or has their configuration.

        Those are batch jobs and their slurmstepds, which outlive slurmd.
        """
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=10)
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cwd().startswith(str(self.folder)) or self._is_client(process):
                    process.kill()

    def _is_client(self, process: psutil.Process) -> bool:
        return process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]


@contextmanager
def cluster(
    nodes: int = 3, *, cores: int = 4, accounting: bool = False, gpus: int = 0, qos: bool = False
) -> Iterator[Slurm]:
    """Run a Slurm of so many nodes, two at least, that pretend to have so many cores; with `accounting` there is sacct.

    Each node has `gpus` that are counted and handed out like others, and are not there. With `qos`, which wants
    `accounting`, there are those of `QOS`, and they decide who preempts whom. RuntimeError, with all logs, if it does
    not come up; see `why_not` first.
    """
    slurm = _patiently_started(nodes, cores=cores, accounting=accounting, gpus=gpus, qos=qos)
    try:
        yield slurm
        with suppress(subprocess.CalledProcessError):
            slurm.run("scancel", "--user=root")
            slurm.wait(lambda: not slurm.run("squeue", "-h"), "all batch jobs are gone")
    finally:
        _remove(slurm)


def _patiently_started(nodes: int, *, cores: int, accounting: bool, gpus: int, qos: bool) -> Slurm:
    """Start a cluster, anew if need be: between our looking for free ports and our using them, others may take them."""
    for tries_left in reversed(range(START_TRIES)):
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        slurm = Slurm(folder=folder, nodes=tuple(f"n{number + 1}" for number in range(nodes)), cores=cores)
        try:
            _configure(slurm, accounting=accounting)
            if gpus:
                _count_gpus(slurm, gpus)
            if qos:
                _let_qos_rule(slurm)
            _start(slurm, accounting=accounting)
            if qos:
                _make_qos(slurm)
        except RuntimeError as error:
            _remove(slurm)
            if not tries_left:
                raise
            logger.warning("Slurm did not come up, and is started once more: %s", error)
        except BaseException:
            _remove(slurm)
            raise
        else:
            return slurm
    raise AssertionError("the last turn returns or raises")


def _remove(slurm: Slurm) -> None:
    slurm.close()
    shutil.rmtree(slurm.folder, ignore_errors=True)


def _configure(slurm: Slurm, *, accounting: bool) -> None:
    folder, host = slurm.folder, socket.gethostname().partition(".")[0]
    ports = _free_ports("controller", "accounting", "database", *slurm.nodes)
    lines = [NODE.format(name=name, host=host, port=ports[name], cores=slurm.cores) for name in slurm.nodes]
    kept = ACCOUNTING.format(folder=folder, ports=ports) if accounting else NO_ACCOUNTING
    text = SLURM_CONF.format(folder=folder, host=host, ports=ports, nodes="\n".join(lines), accounting=kept)
    (folder / "slurm.conf").write_text(text)
    (folder / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(folder=folder, host=host, ports=ports))
    (folder / "grant.sql").write_text(GRANT)
    (folder / "port").write_text(str(ports["database"]))
    (folder / "munge.key").write_bytes(os.urandom(128))
    for name in ("slurmdbd.conf", "munge.key"):
        (folder / name).chmod(0o600)
    for name in ("state", "db", *(f"{kind}.{node}" for kind in ("tmp", "spool") for node in slurm.nodes)):
        (folder / name).mkdir()


def _count_gpus(slurm: Slurm, gpus: int) -> None:
    """Let nodes have GPUs. Slurm numbers them by their device files, which must be there, and opens none of them."""
    conf = slurm.folder / "slurm.conf"
    nodes = conf.read_text().replace(" State=UNKNOWN", f" Gres=gpu:{gpus} State=UNKNOWN")
    conf.write_text(f"GresTypes=gpu\n{nodes}")
    (slurm.folder / "gres.conf").write_text(f"Name=gpu File=/dev/tty[0-{gpus - 1}]\n")


def _let_qos_rule(slurm: Slurm) -> None:
    conf = slurm.folder / "slurm.conf"
    text = conf.read_text().replace("preempt/partition_prio", "preempt/qos")
    conf.write_text(f"AccountingStorageEnforce=associations,limits,qos\n{text}")


def _make_qos(slurm: Slurm) -> None:
    for name, rules in QOS.items():
        slurm.run("sacctmgr", "--immediate", "add", "qos", name, *rules)
    slurm.run("sacctmgr", "--immediate", "modify", "user", "root", "set", f"qos+={','.join(QOS)}")


def _start(slurm: Slurm, *, accounting: bool) -> None:
    folder = slurm.folder
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    slurm.start("munged", "--foreground", "--force", *(f"--{key}={folder / name}" for key, name in files.items()))
    slurm.wait((folder / "munge.socket").exists, "munged is there")
    if accounting:
        _start_accounting(slurm)
    slurm.start_controller()
    for name in slurm.nodes:
        slurm.start(f"slurmd {name}", "-D", "-N", name, "-f", str(folder / "slurm.conf"))
    slurm.wait(lambda: all(slurm.node_state(name) == "idle" for name in slurm.nodes), "all nodes are idle")


def _start_accounting(slurm: Slurm) -> None:
    folder = slurm.folder
    data = f"--datadir={folder / 'db'}"
    slurm.start("mariadb-install-db", *_DATABASE_OPTIONS, data, "--skip-test-db")
    if slurm.daemons.pop("mariadb-install-db").wait(timeout=_UP_S):
        raise RuntimeError((folder / "mariadb-install-db.log").read_text())
    port = (folder / "port").read_text()
    slurm.start(
        "mariadbd",
        *_DATABASE_OPTIONS,
        data,
        f"--socket={folder / 'db.socket'}",
        "--bind-address=127.0.0.1",
        f"--port={port}",
        f"--init-file={folder / 'grant.sql'}",
    )
    slurm.wait(lambda: _listens(int(port)), "mariadbd listens")
    slurm.start("slurmdbd", "-D")
    slurm.wait(lambda: bool(slurm.run("sacctmgr", "-i", "add", "cluster", "test")), "slurmdbd takes a cluster")


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _free_ports(*names: str) -> dict[str, int]:
    """Give each name a port that nobody listens on; all are held until all are found."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: int(one.getsockname()[1]) for name, one in zip(names, held, strict=True)}
    for one in held:
        one.close()
    return ports


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
