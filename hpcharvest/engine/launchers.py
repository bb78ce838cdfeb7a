"""The launchers that we know: how each starts ranks, and how it is told of GPUs. Words in, words out. Pure.

{hosts} {slots} {nodes} {ranks} {ranks_per_node} {cores} {node_cores} {all_cores} {gpus} are filled in by the runner
(`jumbo.command`), which knows the nodes. The runner decides how many payloads run side by side; a launcher that hands
out cores and GPUs itself (srun, jsrun, flux) is asked for just as many, and the others are kept from binding to cores.
Where srun chooses the GPUs, it also sets the variable that names them, so those that the runner chose do not count.

Sources: the launchers' own manuals; srun as Slurm 22.05.8 did it. Hydra's mpiexec and srun are run in tests, Open MPI
5.0 was by hand; the others were not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hpcharvest.config.schema import Launcher, LauncherName


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One launcher. `gpus` follows `words` where payloads use GPUs."""

    words: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    node: tuple[str, ...] = ()
    """Starts the process that does event ranges on a node, beside the payloads there; empty: as a payload of one rank
    that has the node."""
    together: bool = False
    """Whether `node` is for all nodes at once: the end of one process does not end the others."""


LAUNCHERS: Mapping[LauncherName, Row] = MappingProxyType(
    {
        "none": Row(),
        # Hydra hands the environment on, and with it the variable that binds to GPUs.
        # One of its ranks that ends badly ends them all, so each node's process has one of its own.
        "mpiexec": Row(words=("mpiexec", "-hosts", "{hosts}", "-ppn", "{ranks_per_node}", "-n", "{ranks}")),
        "pals": Row(
            words=(
                *("mpiexec", "--hosts", "{hosts}", "--ppn", "{ranks_per_node}", "-n", "{ranks}"),
                # It would bind the ranks of every payload to the same first cores.
                *("--cpu-bind", "none"),
            )
        ),
        "openmpi": Row(
            words=(
                *("mpiexec", "--host", "{slots}", "-n", "{ranks}", "--map-by", "ppr:{ranks_per_node}:node"),
                # Open MPI too starts at the first core for each payload, and hands on the variables that are named.
                *("--bind-to", "none", "-x", "HPCHARVEST_PAYLOAD"),
            ),
            gpus=("-x", "{gpu_variable}"),
        ),
        "srun": Row(
            words=(
                # Without --exact (Slurm 20.11) a step takes its nodes whole, and the next one waits for its end.
                *("srun", "--exact", "--nodes={nodes}", "--nodelist={hosts}", "--ntasks={ranks}"),
                *("--ntasks-per-node={ranks_per_node}", "--cpus-per-task={cores}"),
                # Unless it says how many, be it 0, a step takes all GPUs that the batch job asked for.
                "--gpus-per-node={gpus}",
                # All memory, and none of it for itself alone: else a step may take what the batch job asked for, and
                # the next one waits for its end.
                "--mem=0",
            ),
            # Overlapping: a step that owned the nodes would keep the payloads' steps out. A node that is lost, or a
            # process that ends, takes no other with it.
            node=(
                *("srun", "--overlap", "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--nodes={nodes}"),
                *("--nodelist={hosts}", "--ntasks={ranks}", "--ntasks-per-node=1", "--cpus-per-task={cores}"),
                *("--gpus-per-node={gpus}", "--mem=0"),
            ),
            together=True,
        ),
        "aprun": Row(words=("aprun", "-n", "{ranks}", "-N", "{ranks_per_node}", "-d", "{cores}", "-L", "{hosts}")),
        "jsrun": Row(
            words=(
                # One resource set on each node, with all that the payload has there. Which nodes, is jsrun's choice.
                *("jsrun", "--nrs={nodes}", "--rs_per_host=1", "--tasks_per_rs={ranks_per_node}"),
                *("--cpu_per_rs={node_cores}", "--bind=none"),
            ),
            gpus=("--gpu_per_rs={gpus}",),
        ),
        "flux": Row(
            words=(
                *("flux", "run", "--nodes={nodes}", "--tasks-per-node={ranks_per_node}", "--cores={all_cores}"),
                "--requires=hosts:{hosts}",
            ),
            gpus=("--gpus-per-node={gpus}",),
        ),
    }
)

GPU_VARIABLES: Mapping[str, str] = MappingProxyType(
    {"nvidia": "CUDA_VISIBLE_DEVICES", "amd": "ROCR_VISIBLE_DEVICES", "intel": "ZE_AFFINITY_MASK"}
)
"""What binds a program to some of a node's GPUs, by their vendor. Sources: the manuals of CUDA, ROCm and Level Zero."""


def words(launcher: Launcher, gpu_variable: str) -> tuple[str, ...]:
    """Give what goes before a payload's command line. `gpu_variable`: binds payloads to GPUs; empty: they use none."""
    if launcher.argv:
        return launcher.argv
    row = LAUNCHERS[launcher.name]
    gpus = (word.replace("{gpu_variable}", gpu_variable) for word in row.gpus) if gpu_variable else ()
    return (*row.words, *gpus, *launcher.options)


def node_words(launcher: Launcher, gpu_variable: str) -> tuple[tuple[str, ...], bool]:
    """Give what starts the process that does event ranges on a node, and whether it does so on all nodes at once."""
    if launcher.node_argv:
        return launcher.node_argv, False
    row = LAUNCHERS[launcher.name]
    if row.node and not launcher.argv:
        return (*row.node, *launcher.options), row.together
    return words(launcher, gpu_variable), False
