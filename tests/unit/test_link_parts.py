import logging
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcharvest.errors import ConfigurationError, MessageNotUnderstood, StorageUnavailable
from hpcharvest.jumbo.links import address, handshake, notice
from hpcharvest.jumbo.links.handshake import Challenge, Visit
from hpcharvest.jumbo.links.notice import Notice
from hpcharvest.jumbo.links.pause import Pause
from hpcharvest.jumbo.surroundings import Surroundings

SECRET, OTHER = b"s" * 32, b"o" * 32
NOTICE = Notice(host="127.0.0.1", port=4000, incarnation=2, secret="ab" * 32)


def answered(visit: Visit, line: bytes) -> bytes:
    answer = visit.hear(line)
    assert answer is not None
    return answer


def test_two_that_know_the_secret_know_each_other() -> None:
    head, node = Challenge(SECRET, 7), Visit(SECRET)
    assert node.hear(head.answer(answered(node, head.opening))) is None


def test_no_line_of_the_handshake_is_longer_than_what_a_stranger_may_say() -> None:
    head, node = Challenge(SECRET, 999_999_999), Visit(SECRET)
    answer = answered(node, head.opening)
    assert max(map(len, (head.opening, answer, head.answer(answer)))) <= handshake.LONGEST


def test_a_head_refuses_who_does_not_know_the_secret() -> None:
    head = Challenge(SECRET, 7)
    with pytest.raises(MessageNotUnderstood, match="secret"):
        head.answer(answered(Visit(OTHER), head.opening))


def test_a_node_refuses_a_head_that_does_not_know_the_secret() -> None:
    head, node = Challenge(OTHER, 7), Visit(SECRET)
    answered(node, head.opening)
    for proof in (b"", b"f" * 64, b"\xff" * 64):
        with pytest.raises(MessageNotUnderstood, match="secret"):
            node.hear(proof)


def test_a_proof_serves_once_and_for_one_role() -> None:
    head, node = Challenge(SECRET, 7), Visit(SECRET)
    answer = answered(node, head.opening)
    with pytest.raises(MessageNotUnderstood, match="secret"):
        Challenge(SECRET, 7).answer(answer)
    with pytest.raises(MessageNotUnderstood, match="secret"):
        node.hear(answer.split()[1])  # said back to the node, as if it were the head's


@pytest.mark.parametrize(
    "line", [b"", b"GET / HTTP/1.1\r", b"\xff\xfe", b"0" * 32, b"hpcharvest-link 2 0 " + b"0" * 32]
)
def test_who_speaks_otherwise_is_a_stranger_to_both(line: bytes) -> None:
    with pytest.raises(MessageNotUnderstood, match="speak"):
        Challenge(SECRET, 7).answer(line)
    with pytest.raises(MessageNotUnderstood, match="speak"):
        Visit(SECRET).hear(line)


def test_a_notice_is_read_as_it_was_posted_and_is_for_its_user_only(tmp_path: Path) -> None:
    path = tmp_path / "link.json"
    path.write_text("{}")
    path.chmod(0o644)
    notice.post(path, NOTICE)
    assert notice.read(path) == NOTICE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_notice_that_cannot_be_posted_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match=r"link\.json"):
        notice.post(tmp_path / "nowhere" / "link.json", NOTICE)
    (tmp_path / "link.json").mkdir()
    (tmp_path / "link.json" / "file").touch()
    with pytest.raises(StorageUnavailable):
        notice.post(tmp_path / "link.json", NOTICE)
    assert [one.name for one in tmp_path.iterdir()] == ["link.json"]


def test_the_secret_is_not_shown() -> None:
    assert NOTICE.secret not in f"{NOTICE!r} {NOTICE}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"host": "localhost", "port": 1, "incarnation": 0, "secret": "' + "ab" * 32 + '"}',
        '{"host": "127.0.0.1", "port": 0, "incarnation": 0, "secret": "' + "ab" * 32 + '"}',
        '{"host": "127.0.0.1", "port": 1, "incarnation": 0, "secret": "ab"}',
        '{"host": "127.0.0.1", "port": 1, "incarnation": 0, "secret": "no digits"}',
        '{"host": "127.0.0.1", "port": 1, "incarnation": 0}',
    ],
)
def test_a_notice_that_makes_no_sense_is_not_followed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "link.json"
    path.write_text(text)
    with pytest.raises(MessageNotUnderstood):
        notice.read(path)


def test_pauses_grow_to_the_longest_and_begin_anew() -> None:
    pause = Pause(0.1, 0.5)
    assert [pause.next() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    pause.reset()
    assert [pause.next(0.0), pause.next(0.5)] == [0.05, pytest.approx(0.15)]


def test_a_head_whose_nodes_are_all_this_host_listens_on_loopback() -> None:
    assert address.of_head(Surroundings(nodes=("v1", "v2"), virtual=True)) == "127.0.0.1"
    assert address.of_head(Surroundings(nodes=("far.invalid",))) == "127.0.0.1"


def test_a_head_listens_where_its_name_leads() -> None:
    assert address.of_head(Surroundings(nodes=("192.0.2.7", "192.0.2.8"))) == "192.0.2.7"


def test_a_head_that_nobody_could_reach_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1.*give the address"):
        address.of_head(Surroundings(nodes=("127.0.0.1", "127.0.0.2")))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "", "192.0.2.1"])  # noqa: S104  # it is refused
def test_nobody_listens_where_nodes_could_not_find_it(host: str) -> None:
    with pytest.raises(ConfigurationError):
        address.listen(host, 1)


def test_one_that_dials_does_not_wait() -> None:
    with address.listen("127.0.0.1", 1) as listener:
        port = listener.getsockname()[1]
        with address.dial("127.0.0.1", port) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
            assert not connection.getblocking()
    with pytest.raises(OSError, match=r"Permission|unreachable"):
        address.dial("255.255.255.255", 1)


def test_ipv6_will_do_where_it_is() -> None:
    if not socket.has_ipv6:
        return
    try:
        listener = address.listen("::1", 1)
    except ConfigurationError as error:
        assert "::1" in str(error)  # noqa: PT017  # a host without IPv6 says so
        return
    with listener, address.dial("::1", listener.getsockname()[1]) as connection:
        assert connection.getpeername()[0] == "::1"


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Give the limits of open files, and put them back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_as_many_files_are_allowed_as_the_nodes_need_and_no_more(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, limits[1]))
    address.allow_files(10)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (700, limits[1])
    address.allow_files(200)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (912, limits[1])


def test_a_host_that_allows_too_few_files_says_so(limits: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    assert limits[1] < 2**40
    with caplog.at_level(logging.WARNING):
        address.allow_files(2**40)
    assert "too few for" in caplog.text
