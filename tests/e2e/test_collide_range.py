"""The payload that makes the collisions of one event range, as a program and as a callable."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hpcharvest.cli.demo_data.check_collisions import CollisionsInvalid, check_collisions

pytestmark = pytest.mark.needs("pythia")

DATA = Path(__file__).parents[2] / "hpcharvest" / "cli" / "demo_data"
CARD = DATA / "top_pairs.cmnd"
FIRST, LAST = 11, 13


@pytest.fixture(scope="module")
def payload() -> ModuleType:
    return importlib.import_module("hpcharvest.cli.demo_data.collide_range")


def program(folder: Path, *more: str, card: Path = CARD, seed: int = 5) -> subprocess.CompletedProcess[str]:
    arguments = {"card": card, "start": FIRST, "last": LAST, "seed": seed, "output": folder / "out.hepmc3"}
    command = [sys.executable, str(DATA / "collide_range.py")]
    command += [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    return subprocess.run([*command, *more], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def given(output: Path, seed: int, start: int = FIRST, last: int = LAST) -> dict[str, Any]:
    return {"PFN": str(CARD), "startEvent": start, "lastEvent": last, "seed": seed, "output": str(output)}


def momenta(path: Path) -> list[tuple[int, list[float]]]:
    import pyhepmc

    with pyhepmc.open(path) as file:
        return [(event.event_number, [one.momentum.e for one in event.particles]) for event in file]


def test_a_range_is_a_whole_file_of_its_events(tmp_path: Path) -> None:
    done = program(tmp_path, "--start-log", str(tmp_path / "begun"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    seen = check_collisions(tmp_path / "out.hepmc3", first=FIRST)
    assert seen.events == LAST - FIRST + 1
    assert seen.cross_section_pb > 0
    assert (tmp_path / "begun").read_text() == "out.hepmc3\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["begun", "out.hepmc3"]
    with pytest.raises(CollisionsInvalid, match="event 11 stands where 12 belongs"):
        check_collisions(tmp_path / "out.hepmc3", first=FIRST + 1)


def test_a_callable_makes_what_the_program_makes_whatever_it_made_before(payload: ModuleType, tmp_path: Path) -> None:
    assert program(tmp_path).returncode == 0
    other, same = tmp_path / "other.hepmc3", tmp_path / "same.hepmc3"
    assert payload.collide(given(other, seed=6)) == str(other)
    assert payload.collide(given(same, seed=5)) == str(same)
    made = momenta(tmp_path / "out.hepmc3")
    assert [number for number, _ in made] == [11, 12, 13]
    assert momenta(same) == made
    assert momenta(other) != made


def test_a_callable_starts_pythia_once(payload: ModuleType, tmp_path: Path) -> None:
    payload.started.cache_clear()
    for number in range(3):
        payload.collide(given(tmp_path / f"{number}.hepmc3", seed=number + 1, start=number, last=number))
    assert (payload.started.cache_info().misses, payload.started.cache_info().hits) == (1, 2)


def test_a_bad_card_is_told_and_leaves_no_output(tmp_path: Path) -> None:
    card = tmp_path / "bad.cmnd"
    card.write_text("HardQCD:al = on\n")
    done = program(tmp_path, card=card)
    assert done.returncode == 1
    assert "events 11 to 13 failed" in done.stderr
    assert "does not understand the steering card" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [card]


@pytest.mark.parametrize(
    ("words", "said"), [(("--last", "10"), "--last not below it"), (("--seed", "900000000"), "--seed must be from 0")]
)
def test_a_senseless_range_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = program(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_every_seed_is_good_for_something_of_its_own(payload: ModuleType, tmp_path: Path) -> None:
    made = []
    for seed in (0, 1, payload.SEEDS - 1, 0):
        path = tmp_path / "out.hepmc3"
        payload.collide(given(path, seed=seed, last=FIRST))
        made.append(momenta(path))
    assert made[0] == made[3]  # and not the time of day's
    assert made[0] != made[1] != made[2]
