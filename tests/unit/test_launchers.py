"""The words of every launcher: for ranks, for a payload on another node, with GPUs and without."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import get_args

import pytest

from hpcharvest.config.schema import Launcher, LauncherName
from hpcharvest.config.site import LAUNCHER_PLACEHOLDERS
from hpcharvest.engine import launchers
from hpcharvest.engine.launchers import GPU_VARIABLES, LAUNCHERS
from hpcharvest.jumbo import command, gpus
from hpcharvest.messenger.protocol import Manifest, Task
from hpcharvest.model.ids import AllocationId, Attempt, JobId

GOLDEN = Path(__file__).parent.parent / "golden" / "launchers.txt"


def task(*, mpi: bool, gpus: int = 0) -> Task:
    return Task(
        job=JobId(1),
        attempt=Attempt(1),
        argv=("payload", "--with {hosts}"),
        folder="/w",
        nodes=2 if mpi else 1,
        cores=16,
        gpus=gpus,
        mpi=mpi,
        ranks_per_node=4 if mpi else 1,
    )


def told(name: LauncherName) -> str:
    launcher = Launcher(name=name, options=("--extra",) if name != "none" else ())
    lines = {
        "ranks": (task(mpi=True), ["n1", "n2"], ""),
        "ranks with GPUs": (task(mpi=True, gpus=4), ["n1", "n2"], "CUDA_VISIBLE_DEVICES"),
        "elsewhere": (task(mpi=False), ["n2"], ""),
    }
    node, together = launchers.node_words(launcher, "CUDA_VISIBLE_DEVICES")
    nodes = ["n1", "n2"] if together else ["n2"]
    ranges = command.launched(node, nodes, per_node=1, cores=16, gpus=4)
    return f"{name}, event ranges: {shlex.join([*ranges, 'node'])}\n" + "".join(
        f"{name}, {what}: {shlex.join(command.words(one, nodes, launchers.words(launcher, variable), here=False))}\n"
        for what, (one, nodes, variable) in lines.items()
    )


def test_every_launcher_is_told_what_the_golden_file_says() -> None:
    assert "\n".join(map(told, LAUNCHERS)) == GOLDEN.read_text()


def test_every_launcher_that_can_be_named_is_known_and_its_placeholders_are() -> None:
    assert set(LAUNCHERS) == set(get_args(LauncherName))
    filled = {f"{{{name}}}": "" for name in LAUNCHER_PLACEHOLDERS}
    for row in LAUNCHERS.values():
        for word in (*row.words, *row.node, *(one.replace("{gpu_variable}", "") for one in row.gpus)):
            assert "{" not in command._filled(word, filled)


def test_the_placeholders_that_are_documented_are_those_that_are_filled_in() -> None:
    words = tuple(f"{{{name}}}" for name in sorted(LAUNCHER_PLACEHOLDERS))
    assert not [word for word in command.words(task(mpi=True), ["n1"], words, here=True)[:-2] if "{" in word]


def test_the_sites_own_words_are_taken_as_they_are() -> None:
    assert launchers.words(Launcher(argv=("run", "-n", "{ranks}")), "CUDA_VISIBLE_DEVICES") == ("run", "-n", "{ranks}")


@pytest.mark.parametrize(
    ("variable", "told", "taken", "bound"),
    [
        ("", "", 0b11, {}),
        ("CUDA_VISIBLE_DEVICES", "", 0b0101, {"CUDA_VISIBLE_DEVICES": "0,2"}),
        ("ROCR_VISIBLE_DEVICES", "4,5,6,7", 0b1100, {"ROCR_VISIBLE_DEVICES": "6,7"}),
        ("ZE_AFFINITY_MASK", "4,5", 0b1000, {"ZE_AFFINITY_MASK": "3"}),  # not as many as there should be
        ("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d", 0b0010, {"CUDA_VISIBLE_DEVICES": "GPU-b"}),
    ],
)
def test_a_payload_is_bound_to_its_gpus_by_the_names_that_they_have(
    variable: str, told: str, taken: int, bound: dict[str, str]
) -> None:
    manifest = Manifest(
        allocation=AllocationId(1), tag="t", cores_per_node=8, tasks=(), gpus_per_node=4, gpu_variable=variable
    )
    assert gpus.bound(manifest, taken, {variable: told} if told else {}) == bound


def test_names_that_gpus_have_on_one_host_only_are_not_used_on_another() -> None:
    manifest = Manifest(
        allocation=AllocationId(1), tag="t", cores_per_node=8, tasks=(), gpus_per_node=2, gpu_variable="V"
    )
    assert gpus.bound(manifest, 0b10, {"V": "GPU-a,GPU-b"}, here=False) == {"V": "1"}
    assert gpus.bound(manifest, 0b10, {"V": "6,7"}, here=False) == {"V": "7"}


def test_one_gpu_that_nobody_named_is_the_first() -> None:
    manifest = Manifest(
        allocation=AllocationId(1), tag="t", cores_per_node=8, tasks=(), gpus_per_node=1, gpu_variable="V"
    )
    assert gpus.bound(manifest, 1, {"V": ""}) == {"V": "0"}
    assert set(GPU_VARIABLES) == {"nvidia", "amd", "intel"}
