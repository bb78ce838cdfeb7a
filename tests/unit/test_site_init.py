"""`hpcharvest site init`: what a machine shows of itself becomes a site file that is accepted."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.cli.main import main
from hpcharvest.clock import ManualClock
from hpcharvest.config.loader import load_site
from hpcharvest.config.schema import Site
from hpcharvest.errors import BatchUnreachable, ConfigurationError
from hpcharvest.model.capacity import Capacity, Heard, Limit, LimitKind, NodeGroup, Topic
from hpcharvest.model.shape import NodeShape
from hpcharvest.providers.dialect import Spoken
from hpcharvest.providers.survey import partition, schedulers
from hpcharvest.providers.survey.findings import Findings, Seen
from hpcharvest.providers.survey.surroundings import Surroundings, here
from hpcharvest.providers.survey.survey import survey
from hpcharvest.providers.survey.write import render
from tests.answers import recorded
from tests.unit.test_capacity_documented import BHOSTS, BQUEUES, BSLOTS

ROUTES = "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t0102A8C0\t0003\neth0\t0002A8C0\t00000000\t0001\n"
CLOSED = "Iface\tDestination\tGateway\tFlags\neth0\t0002A8C0\t00000000\t0001\n"

Answers = Mapping[tuple[str, ...], Spoken]


def machine(programs: str, answers: Answers, environ: Mapping[str, str] | None = None, routes: str = ROUTES) -> Any:
    """Make a machine that has these programs, which answer to the words that they begin with."""

    def ask(argv: Sequence[str]) -> Spoken:
        words = [one for one in argv if one != "env" and not one.startswith(("--unset=", "SLURM_TIME_FORMAT="))]
        for first, spoken in answers.items():
            if tuple(words[: len(first)]) == first:
                return spoken
        raise BatchUnreachable(f"{words[0]} gave no answer within 60 s")

    return Surroundings(
        environ=environ or {},
        which=lambda name: f"/usr/bin/{name}" if name in programs.split() else None,
        ask=ask,
        writable=lambda folder: "gone" not in str(folder),
        routes=routes,
        user="root",
        groups=("root", "physics"),
        host="login3",
        cores=48,
        python=Path("/opt/python/bin/python3"),
        clock=ManualClock(1_795_557_226.0),
    )


def said(out: str) -> Spoken:
    return Spoken(exit_code=0, out=out)


SLURM: Answers = {
    ("sbatch", "--version"): said("slurm-wlm 22.05.8\n"),
    ("sinfo",): recorded("slurm", "sinfo_free"),
    ("scontrol", "show", "reservation"): recorded("slurm", "show_res_epoch"),
    ("scontrol", "show", "partition"): recorded("slurm", "show_part_oneline"),
    ("squeue", "--me"): recorded("slurm", "squeue_own"),
    ("sacctmgr", "--noheader", "--parsable2", "show", "qos"): recorded("slurm", "sacctmgr_qos"),
    ("sacctmgr", "--noheader", "--parsable2", "show", "assoc"): recorded("slurm", "sacctmgr_assoc"),
}
PBS: Answers = {
    ("qstat", "--version"): said("pbs_version = 23.06.06\n"),
    ("pbsnodes",): recorded("pbs", "pbsnodes_busy_json"),
    ("pbs_rstat",): recorded("pbs", "rstat_f"),
    ("qstat", "-f"): recorded("pbs", "bf_qstat_json"),
    ("qstat", "-Q"): recorded("pbs", "qstat_Qf_json"),
    ("qstat", "-B"): recorded("pbs", "qstat_Bf_json"),
}
COBALT: Answers = {
    ("qstat", "--version"): said("1.0.33\n"),
    ("nodelist",): recorded("cobalt", "nodelist"),
    ("showres",): recorded("cobalt", "showres_l"),
    ("qstat", "--header"): recorded("cobalt", "qstat_header"),
    ("qstat", "-Q"): recorded("cobalt", "qstat_Q"),
}
LSF: Answers = {("bhosts",): said(BHOSTS), ("bslots",): said(BSLOTS), ("bqueues",): said(BQUEUES)}


def site_of(found: Findings, folder: Path) -> Site:
    file = folder / "site.toml"
    file.write_text(render(found))
    return load_site(file)


def note_of(found: Findings, word: str) -> list[str]:
    return [one for one in found.notes if one.startswith(word)]


def test_a_slurm_is_written_down(tmp_path: Path) -> None:
    place = machine("sbatch srun mpiexec", SLURM, {"SLURM_CONF": "/etc/it's/slurm.conf", "NERSC_HOST": "perl"})
    found = survey(place)
    site = site_of(found, tmp_path)
    assert (site.name, site.batch.dialect, site.batch.partition) == ("perl", "slurm", "regular")
    assert (site.nodes.cores, site.nodes.memory_mb, site.nodes.gpus) == (4, 1000, 0)
    assert (site.allocation.min_nodes, site.allocation.max_nodes) == (1, 4)
    assert site.allocation.max_walltime_s == 86_400
    assert site.batch.account == ""  # there are two: physics and root
    assert site.batch.options == ("--exclusive", "--mem=0")
    assert site.batch.environment == {"SLURM_CONF": "/etc/it's/slurm.conf"}
    assert site.launcher.name == "srun"
    assert site.software.python == Path("/opt/python/bin/python3")
    assert note_of(found, "not known: planned")
    text = render(found)
    assert "the user's default, of: physics, root" in text
    assert "# partition debug: 1 to 2 nodes a batch job, 1800 s, 2 nodes in all" in text


def test_another_partition_may_be_chosen_and_must_be_there(tmp_path: Path) -> None:
    place = machine("sbatch", SLURM)
    site = site_of(survey(place, wanted="debug", name="mine"), tmp_path)
    assert (site.name, site.batch.partition) == ("mine", "debug")
    assert (site.allocation.max_nodes, site.allocation.max_walltime_s) == (2, 1800)
    assert site.launcher.name == "none"
    with pytest.raises(ConfigurationError, match="'gpu'; there are: regular, debug, preempt"):
        survey(place, wanted="gpu")


def test_a_pbs_is_written_down(tmp_path: Path) -> None:
    found = survey(machine("qsub qstat mpiexec", PBS))
    site = site_of(found, tmp_path)
    assert (site.batch.dialect, site.batch.partition, site.batch.account) == ("pbs", "workq", "")
    assert (site.nodes.cores, site.nodes.memory_mb) == (16, 16_384)
    assert site.allocation.max_nodes == 4  # all that there are
    assert site.allocation.max_walltime_s == 86_400
    assert "allocation.max_walltime_s: a day, since no limit is told" in site.site.assumed
    assert any(one.startswith("batch.account") and "physics" in one for one in site.site.assumed)
    assert site.launcher.name == "mpiexec"
    assert site.batch.options == ()


def test_a_cobalt_is_written_down_and_its_cores_are_a_guess(tmp_path: Path) -> None:
    found = survey(machine("qsub qstat nodelist cqwait aprun mpiexec", COBALT))
    site = site_of(found, tmp_path)
    assert (site.batch.dialect, site.batch.partition, site.launcher.name) == ("cobalt", "default", "aprun")
    assert (site.nodes.cores, site.allocation.max_nodes) == (48, 8)
    assert any(one.startswith("nodes.cores") for one in site.site.assumed)


def test_an_lsf_is_written_down(tmp_path: Path) -> None:
    site = site_of(survey(machine("bsub jsrun", LSF)), tmp_path)
    assert (site.batch.dialect, site.batch.partition, site.launcher.name) == ("lsf", "batch", "jsrun")
    assert (site.nodes.cores, site.allocation.max_walltime_s) == (42, 86_400)


def test_of_several_batch_systems_the_others_are_told_and_can_be_chosen(tmp_path: Path) -> None:
    place = machine("sbatch qsub qstat bsub", {**SLURM, **PBS, **LSF})
    found = survey(place)
    assert len(note_of(found, "batch: there is also")) == 2
    assert site_of(found, tmp_path).batch.dialect == "slurm"
    assert site_of(survey(place, dialect="pbs"), tmp_path).batch.dialect == "pbs"
    with pytest.raises(ConfigurationError, match=r"'cobalt' is found .*slurm .*pbs"):
        survey(place, dialect="cobalt")


@pytest.mark.parametrize(
    ("version", "dialect"),
    [
        ("pbs_version = 2022.1.1", "pbs"),
        ("Version: 6.1.2\nCommit: 661e092552de43a785c15d39a3634a541d86898e", "torque"),
        ("slurm 23.02", ""),
        ("", ""),
    ],
)
def test_whose_qsub_it_is_tells_its_qstat(version: str, dialect: str) -> None:
    place = machine("qsub qstat", {("qstat", "--version"): said(version)})
    if dialect:
        assert [one.dialect for one in schedulers.find(place)] == [dialect]
    else:
        with pytest.raises(ConfigurationError, match="no batch system is found"):
            schedulers.find(place)


def test_without_a_batch_system_it_is_told_what_was_looked_for() -> None:
    with pytest.raises(ConfigurationError, match=r"sbatch.*bsub.*qsub.*qstat --version.*nodelist"):
        survey(machine("", {}))


def test_a_batch_system_that_answers_nothing_is_no_site_file() -> None:
    place = machine("sbatch", {("sbatch", "--version"): said("slurm 23.02")})
    with pytest.raises(BatchUnreachable, match=r"slurm 23\.02, but it answers nothing: sinfo .*gave no answer"):
        survey(place)


def test_a_slurm_that_cannot_even_say_its_version_complains_once() -> None:
    place = machine("sbatch", {("sbatch", "--version"): said("sbatch: fatal: no configuration source")})
    with pytest.raises(BatchUnreachable, match=r"sbatch is there, but it answers nothing: sinfo") as caught:
        survey(place)
    assert "scontrol" not in str(caught.value)


def test_scratch_folders_are_told_if_they_can_be_used() -> None:
    environ = {
        "PSCRATCH": "/p/me",
        "SCRATCH_X": "/gone/x",
        "WORK": "/w",
        "LUSTRE_HOME": "/l",
        "HOME": "/h",
        "WORK_": "1",
    }
    notes = note_of(survey(machine("sbatch", SLURM, environ)), "scratch")
    assert notes == [
        "scratch: $LUSTRE_HOME = /l is a folder that we may write to",
        "scratch: $PSCRATCH = /p/me is a folder that we may write to",
        "scratch: $SCRATCH_X = /gone/x is none that we may write to",
        "scratch: $WORK = /w is a folder that we may write to",
    ]


@pytest.mark.parametrize(
    ("environ", "routes", "words"),
    [
        ({}, ROUTES, "has a default route"),
        ({}, CLOSED, "seems to be cut off"),
        ({"https_proxy": "http://proxy:3128"}, CLOSED, "by the proxy only"),
        ({}, "", "could not be read"),
    ],
)
def test_the_way_out_is_told(environ: dict[str, str], routes: str, words: str) -> None:
    notes = note_of(survey(machine("sbatch", SLURM, environ, routes)), "network")
    assert words in notes[-1]
    assert len(notes) == 1 + len(environ)


@pytest.mark.parametrize("url", ["http://me:secret@proxy:3128", "me:secret@proxy:3128", "http://[me:secret@proxy"])
def test_a_password_in_a_proxy_is_not_repeated(url: str) -> None:
    text = render(survey(machine("sbatch", SLURM, {"HTTPS_PROXY": url})))
    assert "HTTPS_PROXY" in text
    assert "secret" not in text


def heard(*statements: NodeGroup | Limit) -> Capacity:
    return Capacity(
        nodes=tuple(one for one in statements if isinstance(one, NodeGroup)),
        limits=tuple(one for one in statements if isinstance(one, Limit)),
        heard=(
            Heard(topic=Topic.NODES, command="sinfo --all", at=1.0),
            Heard(topic=Topic.LIMITS, command="scontrol show partition", at=1.0),
        ),
    )


def values(seen: Sequence[Seen]) -> dict[str, Any]:
    return {one.key.partition(".")[2]: one.value for one in seen}


def test_of_several_shapes_the_commonest_is_taken_and_assumed() -> None:
    many = NodeGroup(partition="p", shape=NodeShape(cores=64, memory_mb=256_000, gpus=4), total=90)
    few = NodeGroup(partition="p", shape=NodeShape(cores=128, memory_mb=512_000), total=10)
    other = NodeGroup(partition="q", shape=NodeShape(cores=8), total=1000)
    seen = list(partition.shape(heard(few, many, other), "p", 1))
    assert values(seen) == {"cores": 64, "memory_mb": 256_000, "gpus": 4}
    assert seen[0].assumed
    assert "10 with 128 cores, 512000 MB, 0 GPUs" in seen[0].where


def test_a_walltime_that_depends_on_the_nodes_is_taken_as_what_all_may_have() -> None:
    prod = Limit(kind=LimitKind.QUEUE, name="prod", routes=("small", "large"))
    small = Limit(kind=LimitKind.QUEUE, name="small", min_nodes=10, max_nodes=24, max_walltime_s=10_800)
    large = Limit(kind=LimitKind.QUEUE, name="large", min_nodes=25, max_nodes=496, max_walltime_s=86_400)
    seen = list(partition.limits(heard(prod, small, large), "prod", ""))
    assert values(seen)["min_nodes"] == 10
    assert values(seen)["max_nodes"] == 496
    assert values(seen)["max_walltime_s"] == 10_800
    where = next(one.where for one in seen if one.key == "allocation.max_walltime_s")
    assert "10-24 nodes: 10800, 25-496 nodes: 86400" in where


def test_a_limit_on_batch_jobs_is_kept() -> None:
    here_ = Limit(kind=LimitKind.PARTITION, name="p", max_walltime_s=60, qos="part")
    qos = Limit(kind=LimitKind.QOS, name="part", max_submitted=100, max_eligible=4)
    seen = values(list(partition.limits(heard(here_, qos), "p", "")))
    assert (seen["max_allocations"], seen["max_walltime_s"], seen["margin_s"]) == (4, 60, 15)


def test_without_a_default_the_largest_open_partition_is_taken() -> None:
    shut = Limit(kind=LimitKind.PARTITION, name="shut", open=False)
    small, large = (Limit(kind=LimitKind.PARTITION, name=one) for one in ("small", "large"))
    groups = [
        NodeGroup(partition=name, shape=NodeShape(cores=1), total=total)
        for name, total in (("shut", 99), ("small", 2), ("large", 3))
    ]
    chosen = partition.choose(heard(shut, small, large, *groups), "")
    assert (chosen.value, chosen.assumed) == ("large", True)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(WORDS, WORDS, WORDS, st.lists(WORDS, max_size=3).map(tuple))
def test_whatever_is_seen_the_file_says_just_that(name: str, value: str, where: str, words: tuple[str, ...]) -> None:
    seen = (
        Seen(key="batch.partition", value=value, where=where, assumed=True),
        Seen(key="batch.options", value=words, where=where),
        Seen(key="batch.environment", value={"A": value}, where=where),
        Seen(key="nodes.cores", value=3, where=where),
    )
    found = Findings(name=name, host=where, at=0.0, seen=seen, notes=(where, value))
    table = tomllib.loads(render(found))
    assert table["site"]["name"] == name
    assert table["site"]["assumed"] == [f"batch.partition: {where}"]
    assert table["batch"] == {"partition": value, "options": list(words), "environment": {"A": value}}
    assert table["nodes"] == {"cores": 3}


def test_this_very_machine_can_be_looked_at() -> None:
    place = here()
    assert place.user
    assert place.cores >= 1
    assert place.ask(["echo", "x"]).out == "x\n"
    assert place.writable(Path("/tmp"))  # noqa: S108 - any folder that is there
    assert not place.writable(Path("/nowhere"))


def call(*words: object, env: Mapping[str, str] | None = None) -> Any:
    return CliRunner().invoke(main, ["site", "init", *map(str, words)], env=env)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text("mine")
    told = call("--output-file", file)
    assert told.exit_code == 2
    assert "--force" in told.stderr
    assert file.read_text() == "mine"


def test_where_there_is_no_batch_system_nothing_is_written(tmp_path: Path) -> None:
    told = call("--output-file", tmp_path / "site.toml", env={"PATH": str(tmp_path)})
    assert told.exit_code == 2
    assert "no batch system is found on this machine" in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_same_machine_gives_the_same_file() -> None:
    place = machine("sbatch srun", SLURM)
    assert render(survey(place)) == render(survey(replace(place, cores=2)))
