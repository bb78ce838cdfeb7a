"""The payload of the demonstration, run as a batch job would: under mpiexec, with ranks on several nodes."""

from __future__ import annotations

import gzip
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = [pytest.mark.needs("pythia"), pytest.mark.needs("mpi")]

NODES = ("vn001", "vn002")  # the launcher's names; with `fork` all of them are this machine
EVENTS = 6


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    pytest.importorskip("pyhepmc")
    return importlib.import_module("hpcharvest.cli.demo_data.check_collisions")


@pytest.fixture(scope="module")
def demo_data(checker: ModuleType) -> Path:
    return Path(str(checker.__file__)).parent


def generate(folder: Path, card: Path, *options: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).parents[2] / "hpcharvest" / "cli" / "demo_data" / "generate_collisions.py"
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec), "-launcher", "fork", "-hosts", ",".join(NODES), "-ppn", "1", "-n", str(ranks)]
    command += [sys.executable, str(program), f"--inputCard={card}", "--outputHepMCFile=out.hepmc3.gz"]
    command += [f"--maxEvents={EVENTS}", "--randomSeed=11", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def job(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished job of two ranks on two nodes."""
    folder = tmp_path_factory.mktemp("collisions")
    done = generate(folder, demo_data / "drell_yan_mumu.cmnd")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    return folder


def test_all_events_are_there_and_conserve_energy_and_momentum(checker: ModuleType, job: Path) -> None:
    summary = checker.check_collisions(job / "out.hepmc3.gz")
    assert summary.events == EVENTS
    assert 0 < summary.max_imbalance_gev < 0.01
    assert 200 < summary.cross_section_pb < 20_000  # 1.8 nb, with the error of six events


def test_no_event_of_one_rank_is_repeated_by_the_other(job: Path) -> None:
    import pyhepmc

    with pyhepmc.open(job / "out.hepmc3.gz") as file:
        events = list(file)
    assert [event.event_number for event in events] == list(range(EVENTS))
    muons = [sorted(p.momentum.e for p in event.particles if abs(p.pid) == 13) for event in events]
    assert all(len(energies) >= 2 for energies in muons)
    assert len({tuple(energies) for energies in muons}) == EVENTS


def test_the_job_report_names_events_hosts_and_cross_section(checker: ModuleType, job: Path) -> None:
    report = json.loads((job / "jobReport.json").read_text())
    assert report["nEvents"] == EVENTS
    assert report["files"]["output"][0]["subFiles"] == [{"name": "out.hepmc3.gz", "nentries": EVENTS}]
    assert [rank["host"] for rank in report["ranks"]] == list(NODES)
    assert report["hosts"] == sorted(NODES)
    assert len({rank["seed"] for rank in report["ranks"]}) == 2
    assert sum(rank["events"] for rank in report["ranks"]) == EVENTS
    assert 0 < report["crossSectionErrorPb"] < report["crossSectionPb"]
    assert report["wallTimeS"] > 0
    in_file = checker.check_collisions(job / "out.hepmc3.gz").cross_section_pb
    assert in_file == pytest.approx(report["crossSectionPb"], rel=1e-6)


def test_only_the_output_and_the_report_remain(job: Path) -> None:
    assert sorted(path.name for path in job.iterdir()) == ["jobReport.json", "out.hepmc3.gz"]


@pytest.mark.parametrize("card", ["hard_qcd_dijets.cmnd", "top_pairs.cmnd"])
def test_the_other_cards_and_more_ranks_than_events(
    checker: ModuleType, demo_data: Path, tmp_path: Path, card: str
) -> None:
    done = generate(tmp_path, demo_data / card, "--maxEvents=2", "--jobReport=report.json", ranks=3)
    assert done.returncode == 0, done.stderr
    assert checker.check_collisions(tmp_path / "out.hepmc3.gz").events == 2
    report = json.loads((tmp_path / "report.json").read_text())
    assert sorted(rank["events"] for rank in report["ranks"]) == [0, 1, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("HardQCD:al = on\n", "does not understand the steering card"),
        ("Beams:eCM = 13600.\n", "cannot start with the steering card"),
        (None, "does not exist"),
    ],
    ids=["misspelt setting", "no process", "no card"],
)
def test_a_bad_card_fails_the_whole_job_and_leaves_no_output(tmp_path: Path, text: str | None, reason: str) -> None:
    card = tmp_path / "bad.cmnd"
    if text is not None:
        card.write_text(text)
    done = generate(tmp_path, card)
    assert done.returncode != 0
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.iterdir() if path != card] == []


def test_one_failing_rank_ends_the_others(demo_data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.hepmc3.gz.part0001").mkdir()  # rank 1 cannot write its part
    done = generate(tmp_path, demo_data / "drell_yan_mumu.cmnd")
    assert done.returncode != 0
    assert f"rank 1 on {NODES[1]} failed" in done.stderr
    assert not (tmp_path / "out.hepmc3.gz").exists()
    assert not (tmp_path / "jobReport.json").exists()


def test_a_senseless_command_line_is_refused(demo_data: Path, tmp_path: Path) -> None:
    done = generate(tmp_path, demo_data / "top_pairs.cmnd", "--maxEvents=0", ranks=1)
    assert done.returncode == 2
    assert "--maxEvents must be at least 1" in done.stderr


def test_a_truncated_file_is_not_taken_for_a_short_one(checker: ModuleType, job: Path, tmp_path: Path) -> None:
    packed = (job / "out.hepmc3.gz").read_bytes()
    text = gzip.decompress(packed)
    for name, content in {
        "cut.hepmc3.gz": packed[: len(packed) // 2],
        "cut.hepmc3": text[: len(text) // 2],
        "empty.hepmc3": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(checker.CollisionsInvalid):
            checker.check_collisions(tmp_path / name)


def test_a_lost_particle_shows_as_imbalance(checker: ModuleType, job: Path, tmp_path: Path) -> None:
    lines = gzip.decompress((job / "out.hepmc3.gz").read_bytes()).splitlines(keepends=True)
    final = next(n for n, line in enumerate(lines) if line.startswith(b"P ") and line.endswith(b" 1\n"))
    lines[final] = lines[final].removesuffix(b" 1\n") + b" 2\n"  # no longer in the final state
    (tmp_path / "lost.hepmc3").write_bytes(b"".join(lines))
    with pytest.raises(checker.CollisionsInvalid, match="out of balance"):
        checker.check_collisions(tmp_path / "lost.hepmc3")
