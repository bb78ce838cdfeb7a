from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from parsl.jobs.states import JobState
from parsl.launchers import WrappedLauncher
from parsl.providers.errors import ScriptPathError, SubmitException

from hpcharvest.clock import ManualClock
from hpcharvest.errors import BatchUnreachable, ConfigurationError, SubmissionRefused
from hpcharvest.model.shape import Shape
from hpcharvest.model.states import BATCH_ENDS, BatchState
from hpcharvest.providers.batch import BatchSystem
from hpcharvest.providers.dialect import BatchRequest, BatchStatus, Environment, NoAccounting, Spoken
from hpcharvest.providers.local import LocalDialect
from hpcharvest.providers.parsl_block import MEANINGS, Block, after, seconds
from hpcharvest.providers.parsl_face import BatchProvider, script, unique_tag

GOLDEN = Path(__file__).parent.parent / "golden" / "parsl_block.sh"
SHAPE = Shape(nodes=2, walltime_s=5400)
SITE = """\
[site]
name = "somewhere"
[nodes]
cores = 64
[allocation]
min_nodes = 3
max_nodes = 4
max_walltime_s = 7200
[batch]
dialect = "local"
command = ["batch"]
partition = "short"
account = "me"
options = ["--hold"]
signal_before_end_s = 0
[software]
prologue = "prologue.sh"
"""


class FolderDialect(NoAccounting):
    """A dialect whose batch system is a folder: `queue` has a line a job, `cancelled` the ids that were to be ended.

    Without `queue` the batch system is away; with `slow` in the folder a submission is carried out, and never answered.
    """

    environment = Environment(nodes="", batch_id="", restart="", deadline="")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.questions = 0

    def tell(self, *jobs: str) -> None:
        (self.folder / "queue").write_text("".join(f"{one}\n" for one in jobs))

    def directives(self, request: BatchRequest) -> Sequence[str]:
        return [f"#X {request.tag} {request.shape.nodes} {request.shape.walltime_s}"]

    def submit_argv(self, request: BatchRequest) -> Sequence[str]:
        code = (
            "import sys, time; from pathlib import Path; folder = Path(sys.argv[1]); queue = folder / 'queue'\n"
            "old = queue.read_text(); number = old.count(chr(10)) + 1\n"
            "queue.write_text(old + f'{number} pending {sys.argv[2]}\\n'); print(number)\n"
            "time.sleep(60 if (folder / 'slow').exists() else 0)"
        )
        return [sys.executable, "-S", "-c", code, str(self.folder), request.tag]

    def read_submitted(self, spoken: Spoken) -> str:
        if spoken.exit_code:
            raise SubmissionRefused("no queue, no job")
        return spoken.out.strip()

    def status_argv(self) -> Sequence[str]:
        self.questions += 1
        return ["cat", str(self.folder / "queue")]

    def read_status(self, spoken: Spoken) -> Mapping[str, BatchStatus]:
        if spoken.exit_code:
            raise BatchUnreachable(spoken.err)
        rows = [line.split() for line in spoken.out.splitlines()]
        told = [BatchStatus(id=one, state=BatchState(word), words=word.upper(), tag=tag) for one, word, tag in rows]
        return {one.id: one for one in told}

    def cancel_argv(self, ids: Sequence[str]) -> Sequence[str]:
        return ["sh", "-c", 'echo "$@" >>"$0"', str(self.folder / "cancelled"), *ids]


@pytest.fixture
def dialect(tmp_path: Path) -> FolderDialect:
    made = FolderDialect(tmp_path)
    made.tell()
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def provider(dialect: FolderDialect, clock: ManualClock, tmp_path: Path) -> BatchProvider:
    system = BatchSystem(dialect, timeout_s=20, per_minute=6000)
    return BatchProvider(system, folder=tmp_path / "blocks", clock=clock)


def said(state: BatchState) -> BatchStatus:
    return BatchStatus(id="7", state=state, words="ITS WORDS")


def later(block: Block, state: BatchState | None, now: float = 0.0) -> Block:
    return after(block, None if state is None else said(state), now=now, absent_s=600)


@pytest.mark.parametrize("state", BatchState)
def test_every_state_has_a_meaning_and_ends_a_block_if_it_is_an_end(state: BatchState) -> None:
    running = Block(batch_id="7", state=JobState.RUNNING)
    new = later(running, state)
    assert new.ended is state.ended
    assert new.message.startswith("batch job 7 ")
    assert ("ITS WORDS" in new.message) is (state is not BatchState.ABSENT)
    assert MEANINGS.keys() == set(BatchState)


def test_every_end_has_parsls_name_for_it() -> None:
    ends = {state: later(Block(batch_id="7"), state).state for state in BATCH_ENDS}
    assert ends == {
        BatchState.COMPLETED: JobState.COMPLETED,
        BatchState.FAILED: JobState.FAILED,
        BatchState.NODE_FAILED: JobState.FAILED,
        BatchState.OUT_OF_MEMORY: JobState.FAILED,
        BatchState.LAUNCH_FAILED: JobState.FAILED,
        BatchState.PREEMPTED: JobState.FAILED,
        BatchState.TIMED_OUT: JobState.TIMEOUT,
        BatchState.CANCELLED: JobState.CANCELLED,
    }


@pytest.mark.parametrize("state", [BatchState.UNKNOWN, BatchState.ABSENT, None])
@pytest.mark.parametrize("known", [JobState.PENDING, JobState.RUNNING, JobState.TIMEOUT])
def test_what_is_not_known_stays_as_it_was(known: JobState, state: BatchState | None) -> None:
    assert later(Block(batch_id="7", state=known), state).status().state is known


def test_a_block_that_is_absent_for_long_is_lost_and_may_come_back() -> None:
    block = later(Block(batch_id="7", state=JobState.RUNNING), None, now=100)
    assert later(block, None, now=699).status().state is JobState.RUNNING
    lost = later(block, None, now=700)
    assert lost.status().state is JobState.UNKNOWN
    assert not lost.ended
    assert later(lost, BatchState.PENDING, now=701).status().state is JobState.PENDING
    assert later(later(lost, BatchState.RUNNING, now=701), None, now=702).status().state is JobState.RUNNING


def test_an_end_stays_unless_the_batch_job_is_back_in_the_queue() -> None:
    ended = later(Block(batch_id="7"), BatchState.PREEMPTED)
    assert later(later(ended, None, now=0), None, now=9999) == ended
    assert later(ended, BatchState.PENDING).status().state is JobState.PENDING


@pytest.mark.parametrize(("walltime", "right"), [("01:30:05", 5405), ("100:00:00", 360000), (90, 90)])
def test_a_walltime_is_read(walltime: str | int, right: int) -> None:
    assert seconds(walltime) == right


@pytest.mark.parametrize("walltime", ["", "90", "1:2", "00:61:00", "00:00:00", 0, -1, "1-00:00:00"])
def test_what_is_no_walltime_is_refused(walltime: str | int, provider: BatchProvider) -> None:
    with pytest.raises(ConfigurationError, match="HH:MM:SS"):
        BatchProvider(provider._system, walltime=walltime)


def test_the_script_is_as_expected() -> None:
    request = BatchRequest(tag="parsl.block-0.abc", shape=SHAPE, folder=Path("/f"))
    text = script(LocalDialect(["batch"]), request, "process_worker_pool.py --port=1", "module load python\n", 8)
    assert text == GOLDEN.read_text()


def test_a_tag_is_the_jobs_name_and_something_new() -> None:
    tags = {unique_tag("parsl.my executor\n#X --evil.block-0") for _ in range(100)}
    assert len(tags) == 100
    assert all(tag.startswith("parsl.my-executor-X---evil.block-0.") for tag in tags)
    assert unique_tag("").startswith("parsl.")
    assert len(unique_tag("x" * 1000)) < 128


def test_a_block_has_the_shape_that_the_provider_has_now(provider: BatchProvider, tmp_path: Path) -> None:
    provider.launcher = WrappedLauncher("time")
    provider.submit("work", 1, "a")
    provider.nodes_per_block, provider.walltime = 3, "00:20:00"
    provider.submit("work", 1, "b")
    provider.submit_shape("work", SHAPE, "c")
    first, second, third = sorted((tmp_path / "blocks").glob("*/script.sh"))
    assert first.read_text().splitlines()[1].endswith(" 1 600")
    assert second.read_text().splitlines()[1].endswith(" 3 1200")
    assert third.read_text().splitlines()[1] == "#X c 2 5400"
    assert third.read_text().endswith("\ntime work\n")


def test_one_question_is_asked_for_all_and_none_when_all_have_ended(
    provider: BatchProvider, dialect: FolderDialect
) -> None:
    blocks = [provider.submit("work", 1) for _ in range(3)]
    assert [one.state for one in provider.status(blocks)] == [JobState.PENDING] * 3
    assert dialect.questions == 1
    dialect.tell("1 running x", "2 node_failed x", "3 completed x")
    told = provider.status(blocks)
    assert [one.state for one in told] == [JobState.RUNNING, JobState.FAILED, JobState.COMPLETED]
    assert told[1].message == "batch job 2 lost a node (NODE_FAILED)"
    assert dialect.questions == 2
    told[2].state = JobState.MISSING  # as Parsl's executor does with our answer
    assert [one.state for one in provider.status(blocks[1:])] == [JobState.FAILED, JobState.COMPLETED]
    assert dialect.questions == 2
    assert provider.status([]) == []


def test_a_batch_system_that_is_away_ends_nothing(
    provider: BatchProvider, dialect: FolderDialect, clock: ManualClock
) -> None:
    block = provider.submit("work", 1)
    dialect.tell(f"{block} running x")
    assert provider.status([block])[0].state is JobState.RUNNING
    (dialect.folder / "queue").unlink()
    clock.advance(100_000)
    assert provider.status([block])[0].state is JobState.RUNNING
    assert provider.cancel([block]) == [False]
    with pytest.raises(SubmitException, match="no queue, no job"):
        provider.submit("work", 1)


def test_a_block_is_looked_for_when_the_answer_to_its_submission_is_lost(
    dialect: FolderDialect, tmp_path: Path
) -> None:
    (tmp_path / "slow").touch()
    system = BatchSystem(dialect, timeout_s=1, per_minute=6000)
    provider = BatchProvider(system, folder=tmp_path / "blocks")
    block = provider.submit_shape("work", SHAPE, "mine")
    assert block == "mine"
    queue = (tmp_path / "queue").read_text()
    dialect.tell()
    assert provider.status([block])[0].state is JobState.PENDING
    assert provider.cancel([block]) == [False]
    dialect.tell(*queue.splitlines())
    assert provider.status([block])[0].state is JobState.PENDING
    assert provider.cancel([block]) == [True]
    assert (tmp_path / "cancelled").read_text() == "1\n"


def test_only_what_goes_on_is_cancelled(provider: BatchProvider, dialect: FolderDialect) -> None:
    dialect.tell("1 running x", "2 failed x", "3 pending x")
    blocks = [provider.adopt(one) for one in ("1", "2", "3")]
    assert provider.cancel(blocks) == [True, True, True]
    assert (dialect.folder / "cancelled").read_text() == "1 3\n"
    assert provider.cancel([]) == []


def test_a_block_of_another_process_is_watched(provider: BatchProvider, dialect: FolderDialect) -> None:
    dialect.tell("41 running x")
    assert provider.status([provider.adopt("41"), "42"])[0].state is JobState.RUNNING
    assert provider.status(["42"])[0].state is JobState.PENDING


def test_a_tag_is_used_once_and_is_no_path(provider: BatchProvider) -> None:
    provider.submit_shape("work", SHAPE, "mine")
    with pytest.raises(ScriptPathError, match="File exists"):
        provider.submit_shape("work", SHAPE, "mine")
    for tag in ("", "../mine", "a b", ".."):
        with pytest.raises(SubmitException, match="a tag is made of"):
            provider.submit_shape("work", SHAPE, tag)


def test_scripts_lie_where_parsl_says_if_nobody_else_does(provider: BatchProvider, tmp_path: Path) -> None:
    without = BatchProvider(provider._system)
    with pytest.raises(SubmitException, match="give the provider a folder"):
        without.submit("work", 1)
    without.script_dir = str(tmp_path / "run")
    told = without.status([without.submit("work", 1, "a")])[0]
    assert told.stdout_path is not None
    assert Path(told.stdout_path).parent.parent == tmp_path / "run"
    assert told.stderr_summary is None


def test_a_site_file_says_the_rest_and_the_caller_has_the_last_word(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(SITE)
    with pytest.raises(ConfigurationError, match=r"prologue\.sh cannot be read"):
        BatchProvider.from_site(file)
    (tmp_path / "prologue.sh").write_text("module load python\n")
    made = BatchProvider.from_site(file, walltime=60, worker_init="echo me", account="you")
    assert (made.label, made.nodes_per_block, made.cores_per_node) == ("somewhere", 3, 64)
    assert (made.partition, made.account, made.options) == ("short", "you", ("--hold",))
    assert made.worker_init == "module load python\necho me"
