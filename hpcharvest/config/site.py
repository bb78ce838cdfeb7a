"""A site file: what one machine is, and what its batch system permits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from hpcharvest.config.base import (
    AbsolutePath,
    AbsolutePaths,
    Command,
    Count,
    Environment,
    NearPath,
    PositiveCount,
    PositiveSeconds,
    Repositories,
    Seconds,
    Section,
    Strings,
    Text,
    check_placeholders,
    not_below,
)
from hpcharvest.config.container import Container

Dialect = Text
LauncherName = Literal["mpiexec", "pals", "openmpi", "srun", "aprun", "jsrun", "flux", "none"]
RangeLink = Literal["sockets", "mpi"]
GpuVendor = Literal["nvidia", "amd", "intel"]

LAUNCHER_PLACEHOLDERS = frozenset(
    {"hosts", "slots", "nodes", "ranks", "ranks_per_node", "cores", "node_cores", "all_cores", "gpus"}
)


def own_python() -> Path:
    """Return the path of the Python that runs the controller."""
    return Path(sys.executable)


class About(Section):
    """Which machine this is, and how we know."""

    name: Text
    """The machine's name."""
    facility: str = ""
    """The centre that runs it."""
    description: str = ""
    """A sentence about the machine for those who choose a site file."""
    sources: Strings = ()
    """The statements of this file that were read in documentation, each with where."""
    assumed: Strings = ()
    """The statements of this file that nobody has confirmed: check them before you rely on them."""


class Nodes(Section):
    """What one node offers to payloads."""

    cores: PositiveCount
    """Number of cores of a node that payloads may use."""
    memory_mb: Count = 0
    """Memory of a node that payloads may use, in MB; 0: unknown, and so no limit."""
    gpus: Count = 0
    """Number of GPUs of a node, as programs count them."""
    gpu_vendor: GpuVendor = "nvidia"
    """Whose GPUs they are: which variable binds a payload to some of them (CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES
    or ZE_AFFINITY_MASK), and how a container gets at them."""
    scratch: Text = "${TMPDIR:-/tmp}"
    """A folder of the node's own, for the outputs of event ranges until they are archived; `${NAME:-DEFAULT}` stands
    for the variable of that name on the node."""
    link_address: str = ""
    """Where the first node of a batch job listens for its other nodes when they do event ranges: a name or an address,
    such as `{node}-hsn0` on a faster network; {node} is the node's own name. Empty: what its name means there; a batch
    job of one node listens on loopback."""

    @field_validator("link_address")
    @classmethod
    def _link_address_is_known(cls, value: str) -> str:
        check_placeholders((value,), frozenset({"node"}))
        return value


class AllocationLimits(Section):
    """How large, how long and how many the batch jobs may be."""

    min_nodes: PositiveCount = 1
    """Number of nodes that a batch job asks for at the least."""
    max_nodes: PositiveCount = 1
    """Number of nodes that a batch job asks for at the most."""
    max_walltime_s: PositiveCount
    """The longest walltime that a batch job may ask for, in seconds."""
    margin_s: Seconds = 60.0
    """Seconds at the end of a batch job that are kept free of payloads, for the runner to leave in good order."""
    walltime_factor: Annotated[float, Field(ge=1)] = 1.0
    """The factor by which a job's promised walltime is multiplied, for a machine slower than was thought."""
    max_allocations: PositiveCount = 10
    """Number of batch jobs, waiting and running, that we have at this site at the most."""
    max_jobs: PositiveCount = 200
    """Number of PanDA jobs that one batch job is given at the most."""
    linger_s: Seconds = 0.5
    """How many seconds a batch job that is not full waits for more PanDA jobs before it is submitted."""

    @field_validator("max_nodes")
    @classmethod
    def _nodes_in_order(cls, value: int, info: ValidationInfo) -> int:
        return not_below(value, info, "min_nodes")

    @field_validator("margin_s")
    @classmethod
    def _time_is_left(cls, value: float, info: ValidationInfo) -> float:
        longest = info.data.get("max_walltime_s")
        if longest is not None and value >= longest:
            raise ValueError(f"margin_s ({value:g}) leaves nothing of max_walltime_s ({longest}) to payloads")
        return value


class Batch(Section):
    """How to talk to the batch system."""

    dialect: Dialect
    """The batch system's language: `local`, the small one that comes with hpcharvest, `slurm`, `pbs`, `torque`,
    `cobalt`, `lsf`, `saga`, or one that another package adds."""
    command: Command = ()
    """The words that begin each command of the batch system, where they are not just found through PATH; for `local`:
    the program with its `--spool`; for `saga`: the program with its `--url` and `--folder`."""
    partition: str = ""
    """The partition or queue of the batch system; empty: its default."""
    account: str = ""
    """The account or project that pays; empty: the user's default."""
    qos: str = ""
    """The quality of service; empty: the batch system's default."""
    options: Strings = ()
    """Further directives for the batch script, one each, as they stand after `#SBATCH`, `#PBS` and the like."""
    signal_before_end_s: Count = 60
    """How many seconds before the end of its walltime a batch job is warned, where the batch system can."""
    command_timeout_s: PositiveSeconds = 60.0
    """After how many seconds a command of the batch system is given up."""
    commands_per_minute: PositiveCount = 30
    """Number of commands a minute that we trouble the batch system with at the most."""
    environment: Environment = Field(default={})
    """Environment variables for the batch system's commands; no secrets."""
    forbidden: Strings = ()
    """Commands that the site does not want to be run only to look around, by name (`sinfo`), or by some of their words
    too (`sbatch --test-only`); what they would say stays unknown, and is said to be so."""


class Launcher(Section):
    """How one program is started on all nodes of a batch job."""

    name: LauncherName = "none"
    """What starts ranks on nodes: `mpiexec` of MPICH and Intel MPI (Hydra), `pals` (the mpiexec of HPE Cray systems),
    `openmpi`, `srun`, `aprun`, `jsrun`, `flux`; `none`: there is none, and so no MPI payload."""
    options: Strings = ()
    """Further options for it."""
    argv: Strings = ()
    """The whole command line before the payload's, instead of `name`; it may have {hosts} (separated by commas),
    {slots} (the same, each with a colon and its number of ranks), {nodes}, {ranks}, {ranks_per_node}, {cores} (of a
    rank), {node_cores} and {gpus} (on each node), and {all_cores}."""

    node_argv: Strings = ()
    """The command line that starts, on one node, the process that does event ranges there, beside the payloads of other
    jobs; with the same words in braces. Empty: the launcher's own way."""

    link: RangeLink = "sockets"
    """Over what the nodes of a batch job that does event ranges speak to its first one: `sockets`, or `mpi`, where the
    nodes can reach each other in no other way. With `mpi` a batch job ends when one of its nodes dies."""

    @field_validator("link")
    @classmethod
    def _link_has_ranks(cls, value: RangeLink, info: ValidationInfo) -> RangeLink:
        if value == "mpi" and not info.data.get("argv") and info.data.get("name") == "none":
            raise ValueError('link = "mpi" needs a launcher that starts ranks')
        return value

    @field_validator("node_argv")
    @classmethod
    def _node_argv_is_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_placeholders(value, LAUNCHER_PLACEHOLDERS)
        return value

    @field_validator("argv")
    @classmethod
    def _argv_alone(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        check_placeholders(value, LAUNCHER_PLACEHOLDERS)
        if value and info.data.get("options"):
            raise ValueError("options have no effect beside argv; write them into argv")
        return value

    @property
    def starts_ranks(self) -> bool:
        """Whether MPI payloads can be started."""
        return bool(self.argv) or self.name != "none"


class Software(Section):
    """What must be there on a node before a payload starts."""

    prologue: NearPath | None = None
    """A file of shell commands for the head of every batch script, by its path from the site file's folder."""
    python: AbsolutePath = Field(default_factory=own_python)
    """The Python (3.11 or later) of the runner on the nodes."""
    payload_path: AbsolutePaths = ()
    """Folders that are put in front of a payload's PATH."""
    required_paths: AbsolutePaths = ()
    """Files and folders that must be there before payloads can run, such as unpacked software on the shared file
    system; `hpcharvest doctor` looks for them."""
    cvmfs: Repositories = ()
    """CVMFS repositories that payloads read, such as `atlas.cern.ch`; `hpcharvest doctor` looks for them."""
    cvmfsexec: AbsolutePath | None = None
    """The program `cvmfsexec`, where the nodes mount no CVMFS and the prologue does it by that; none: they mount it."""


class Site(Section):
    """One machine of one centre."""

    site: About
    """Which machine this is, and how we know."""
    nodes: Nodes
    """What one node offers to payloads."""
    allocation: AllocationLimits
    """How large, how long and how many the batch jobs may be."""
    batch: Batch
    """How to talk to the batch system."""
    launcher: Launcher = Launcher()
    """How one program is started on all nodes of a batch job."""
    software: Software = Field(default_factory=Software)
    """What must be there on a node before a payload starts."""
    container: Container = Container()
    """How payloads are started in containers, where a job, a queue or the site names an image."""

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.site.name

    @field_validator("batch")
    @classmethod
    def _warned_in_time(cls, value: Batch, info: ValidationInfo) -> Batch:
        allocation = info.data.get("allocation")
        if allocation is not None and value.signal_before_end_s >= allocation.max_walltime_s:
            raise ValueError(
                f"signal_before_end_s ({value.signal_before_end_s}) would warn a batch job before it starts: "
                f"allocation.max_walltime_s is {allocation.max_walltime_s}"
            )
        return value
