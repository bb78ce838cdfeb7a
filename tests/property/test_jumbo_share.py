"""The laws of the division of room into slots: nothing is given twice, the first come first, what is busy stays."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from hpcharvest.jumbo import share
from hpcharvest.jumbo.placement import Need, Room
from hpcharvest.jumbo.share import Claim, Grant

needs = st.builds(Need, st.integers(1, 3), st.integers(1, 4), st.sampled_from([0, 30, 60]), st.integers(0, 2))
rooms = st.lists(
    st.builds(Room, st.integers(0, 8), st.sampled_from([0.0, 100.0, math.inf]), st.integers(0, 15)), max_size=6
)
claims = st.lists(
    st.builds(lambda need, most: Claim(need=need, most=most), needs, st.one_of(st.just(math.inf), st.integers(0, 12))),
    max_size=4,
)


def fits_all(rooms: list[Room], claims: list[Claim], grants: list[dict[int, Grant]]) -> bool:
    """Tell whether all grants have room beside each other, each GPU for one slot alone."""
    free = list(rooms)
    for claim, given_ in zip(claims, grants, strict=True):
        need = claim.need
        for first, grant in given_.items():
            for node in range(first, first + need.nodes):
                room = free[node]
                if grant.gpus & ~room.gpus or grant.gpus.bit_count() != need.gpus * grant.count:
                    return False
                memory = room.memory_mb - need.memory_mb * grant.count
                free[node] = Room(room.cores - need.cores * grant.count, memory, room.gpus & ~grant.gpus)
    return all(room.cores >= 0 and room.memory_mb >= 0 for room in free)


@given(rooms=rooms, claims=claims)
def test_what_is_granted_fits_and_is_no_more_than_could_be_used(rooms: list[Room], claims: list[Claim]) -> None:
    grants = share.divide(rooms, claims)
    assert fits_all(rooms, claims, grants)
    for claim, given_ in zip(claims, grants, strict=True):
        assert sum(grant.count for grant in given_.values()) <= claim.most


@given(rooms=rooms, claims=claims)
def test_a_job_gets_the_same_whoever_comes_after_it(rooms: list[Room], claims: list[Claim]) -> None:
    grants = share.divide(rooms, claims)
    for count in range(len(claims)):
        assert share.divide(rooms, claims[:count]) == grants[:count]


@given(rooms=rooms, claims=claims, data=st.data())
def test_what_is_busy_keeps_its_room_until_it_has_ended(
    rooms: list[Room], claims: list[Claim], data: st.DataObject
) -> None:
    before = share.divide(rooms, claims)
    order = data.draw(st.permutations(range(len(claims))))
    after = [Claim(need=claims[one].need, most=claims[one].most, busy=before[one]) for one in order]
    grants = share.divide(rooms, after)
    occupied = []
    for claim, given_ in zip(after, grants, strict=True):
        nodes = {*claim.busy, *given_}
        occupied.append(
            {
                node: max(
                    claim.busy.get(node, share.NOTHING), given_.get(node, share.NOTHING), key=lambda one: one.count
                )
                for node in nodes
            }
        )
    assert fits_all(rooms, after, occupied)


def test_the_second_gets_what_the_first_leaves_and_only_beside_what_runs() -> None:
    rooms = [Room(4, math.inf), Room(4, math.inf)]
    first, second = Claim(need=Need(1, 3)), Claim(need=Need(1, 1))
    assert share.divide(rooms, [first, second]) == [{0: Grant(1), 1: Grant(1)}, {0: Grant(1), 1: Grant(1)}]
    busy = Claim(need=Need(1, 1), busy={0: Grant(2)})
    assert share.divide(rooms, [first, busy]) == [{1: Grant(1)}, {0: Grant(1), 1: Grant(1)}]


def test_a_slot_on_two_nodes_is_granted_to_the_first_of_them() -> None:
    rooms = [Room(4, math.inf, 3), Room(2, math.inf, 7), Room(9, math.inf, 7)]
    assert share.divide(rooms, [Claim(need=Need(2, 2, 0, 1))]) == [{0: Grant(1, 1)}]


@given(rooms=rooms, claims=claims, absent=st.sets(st.integers(0, 5)))
def test_no_slot_is_on_a_node_that_is_absent_and_none_is_missing_elsewhere(
    rooms: list[Room], claims: list[Claim], absent: set[int]
) -> None:
    claims = [Claim(need=claim.need, most=claim.most, absent=absent) for claim in claims]
    grants = share.divide(rooms, claims)
    there = [Room(0, 0.0) if place in absent else room for place, room in enumerate(rooms)]
    assert grants == share.divide(there, [Claim(need=claim.need, most=claim.most) for claim in claims])
