"""Which rank is which node, what a rank hides from its children, and two links as one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from hpcharvest.config.schema import Launcher
from hpcharvest.config.site import RangeLink
from hpcharvest.errors import ConfigurationError
from hpcharvest.jumbo.links.both import BothHead
from hpcharvest.jumbo.links.messages import Beat, Bye, Hello, Welcome
from hpcharvest.jumbo.links.mpi import LONGEST_PAUSE_S, SHORTEST_PAUSE_S
from hpcharvest.jumbo.rank import roll
from hpcharvest.messenger.protocol import LinkName
from tests.services.desks import Notebook

NODES = ("n1.site", "n2.site", "n3.site")


@pytest.mark.parametrize(
    ("hosts", "nodes"),
    [
        (["n1", "n2", "n3"], NODES),
        (["n2", "n1.other", "n3.site"], ("n2.site", "n1.site", "n3.site")),
        (["n1", "n1", "n3"], NODES),
        (["here", "here", "here"], NODES),
        (["n1", "n2", "elsewhere"], NODES),
    ],
)
def test_a_rank_has_the_name_of_its_host_or_its_place_in_the_order(hosts: list[str], nodes: tuple[str, ...]) -> None:
    assert roll.nodes_of(hosts, NODES) == nodes


@pytest.mark.parametrize("ranks", [2, 4, 6])
def test_one_rank_on_each_node_is_wanted(ranks: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{ranks} ranks on 3 nodes"):
        roll.nodes_of(["n1"] * ranks, NODES)


def test_what_makes_a_rank_is_hidden_and_what_people_have_set_stays() -> None:
    before = {"OMPI_MCA_btl": "tcp", "PMIX_MCA_gds": "hash", "PMI_NO_FORK": "1", "PATH": "/bin", "PMI_RANK": "7"}
    more = {"PMI_RANK": "0", "PMI_FD": "9", "PMIX_NAMESPACE": "x", "OMPI_COMM_WORLD_RANK": "0", "MPI_LOCALRANKID": "0"}
    launched = {**before, **more, "OMPI_MCA_ess": "pmi", "PALS_RANKID": "0", "SLURM_PROCID": "0", "OMPIRE": "x"}
    launched[roll.SETTINGS_VARIABLE] = roll.settings(before)
    left = launched.keys() - roll.of_a_rank(launched)
    assert left == {"OMPI_MCA_btl", "PMIX_MCA_gds", "PMI_NO_FORK", "PATH", "SLURM_PROCID", "OMPIRE"}
    assert roll.of_a_rank({"PATH": "/bin"}) == []


def test_what_a_launcher_listens_to_is_kept_from_children() -> None:
    program = (
        "import os, subprocess; from hpcharvest.jumbo.rank.hide import hide; hide(os.environ); "
        "subprocess.run(['sh', '-c', 'echo \"$PMI_FD\"; ls /proc/self/fd'], close_fds=False)"
    )
    ear, mouth = os.pipe()
    try:
        os.set_inheritable(mouth, True)
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PMI_FD": str(mouth)},
            close_fds=False,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.close(ear)
        os.close(mouth)
    told, *descriptors = done.stdout.split("\n")
    assert told == ""
    assert str(mouth) not in descriptors


@pytest.fixture
def ends() -> tuple[Notebook, Notebook, BothHead]:
    first, second = Notebook(), Notebook()
    return first, second, BothHead(first, second)


def test_a_node_is_spoken_to_over_the_link_by_which_it_came(ends: tuple[Notebook, Notebook, BothHead]) -> None:
    first, second, both = ends
    first.came = [("a", Hello(node="a", life=0))]
    second.came = [("b", Hello(node="b", life=0)), ("b", Beat())]
    assert [name for name, _ in both.receive()] == ["a", "b", "b"]
    for node in "abc":
        both.send(node, Welcome())
    assert (first.sent, second.sent) == ([("a", Welcome())], [("b", Welcome())])
    both.drop("b")
    both.send("b", Welcome())
    assert (first.dropped, second.dropped, len(second.sent)) == ([], ["b"], 1)


def test_what_a_node_says_over_a_link_that_it_has_left_is_not_heard(ends: tuple[Notebook, Notebook, BothHead]) -> None:
    first, second, both = ends
    first.came = [("a", Hello(node="a", life=0))]
    both.receive()
    second.came = [("a", Hello(node="a", life=1))]
    both.receive()
    assert first.dropped == ["a"]
    first.came = [("a", Bye()), ("a", None)]
    second.came = [("a", Beat())]
    assert list(both.receive()) == [("a", Beat())]
    second.came = [("a", None)]
    assert list(both.receive()) == [("a", None)]
    both.send("a", Welcome())
    assert second.sent == []


def test_looks_come_less_often_while_nothing_comes(ends: tuple[Notebook, Notebook, BothHead]) -> None:
    first, _, both = ends
    looks = []
    for _ in range(6):
        both.receive()
        looks.append(both.look_s)
    assert looks[0] == SHORTEST_PAUSE_S
    assert looks[-1] == LONGEST_PAUSE_S
    assert looks == sorted(looks)
    first.came = [("a", Hello(node="a", life=0))]
    both.receive()
    assert both.look_s == SHORTEST_PAUSE_S
    assert both.fileno() == -1


def test_the_link_over_mpi_wants_a_launcher() -> None:
    assert get_args(RangeLink) == tuple(LinkName)
    with pytest.raises(ValidationError, match="needs a launcher"):
        Launcher.model_validate({"link": "mpi"})
    for launcher in ({"name": "srun"}, {"argv": ("ibrun",)}):
        assert LinkName(Launcher.model_validate({"link": "mpi", **launcher}).link) is LinkName.MPI
