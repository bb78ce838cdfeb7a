"""The configuration as an operator meets it: files that are read, and the words about those that are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpcharvest.config import reference
from hpcharvest.config.loader import load, load_site, shipped_sites
from hpcharvest.errors import ConfigurationError

SITE = """\
[site]
name = "toy"

[nodes]
cores = 8

[allocation]
max_nodes = 4
max_walltime_s = 7200

[batch]
dialect = "local"
environment = {TZ = "UTC"}

[software]
prologue = "toy.sh"
payload_path = ["/opt/payload/bin"]
"""
CONTROLLER = """\
[controller]
harvester_id = "edge01"
work_dir = "/scratch/harvest"

[panda]
url = "https://panda.example.org:25443/"

[queues.TOY]
site = "toy.toml"

[queues.TOY.payload]
transformation_dir = "trf"

[queues.TOY.storage]
inputs = "/data/in"
outputs = "file:///data/out"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "toy.toml").write_text(SITE)
    (tmp_path / "edge.toml").write_text(CONTROLLER)
    return tmp_path


def refusal(folder: Path, *, old: str = "", new: str = "", name: str = "edge.toml") -> list[str]:
    """Give the lines of the refusal of a file that was changed, each without the folder's name."""
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else new + text)
    with pytest.raises(ConfigurationError) as caught:
        load(folder / "edge.toml")
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def test_small_file_is_filled_with_defaults(folder: Path) -> None:
    configuration = load(folder / "edge.toml")
    controller = configuration.controller
    assert controller.state_dir == Path("/scratch/harvest/edge01/state")
    assert controller.database == "sqlite:////scratch/harvest/edge01/state/hpcharvest.sqlite"
    assert controller.patience.batch_poll_s == 16
    assert configuration.panda.url == "https://panda.example.org:25443"
    queue = configuration.queues["TOY"]
    assert queue.payload.transformation_dir == folder / "trf"
    assert queue.site.name == "toy"
    assert queue.site.software.prologue == folder / "toy.sh"
    assert queue.site.software.python == Path(sys.executable)
    assert dict(queue.site.batch.environment) == {"TZ": "UTC"}


def test_nothing_of_it_can_be_changed(folder: Path) -> None:
    configuration = load(folder / "edge.toml")
    with pytest.raises(ValueError, match="frozen"):
        configuration.controller.lease_s = 1.0  # type: ignore[misc]  # what mypy sees too
    with pytest.raises(TypeError):
        configuration.queues["OTHER"] = configuration.queues["TOY"]  # type: ignore[index]  # what mypy sees too
    with pytest.raises(TypeError):
        configuration.queues["TOY"].site.batch.environment["TZ"] = "CET"  # type: ignore[index]  # what mypy sees too


def test_example_of_the_reference_page_is_read(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(reference.EXAMPLE)
    assert load(tmp_path / "edge.toml").queues["EXAMPLE_QUEUE"].site.name == "local"


@pytest.mark.parametrize("path", sorted(shipped_sites().rglob("*.toml")), ids=lambda path: path.stem)
def test_shipped_site_is_valid(path: Path) -> None:
    assert load_site(path).name


def test_file_beside_the_controller_file_goes_before_a_shipped_one(folder: Path) -> None:
    (folder / "generic").mkdir()
    (folder / "generic/local.toml").write_text(SITE)
    (folder / "edge.toml").write_text(CONTROLLER.replace("toy.toml", "generic/local.toml"))
    assert load(folder / "edge.toml").queues["TOY"].site.name == "toy"


def test_unknown_key_names_the_nearest(folder: Path) -> None:
    assert refusal(folder, old="[panda]", new="[controller.patience]\nretry_frist_s = 3\n[panda]") == [
        "edge.toml:6: controller.patience.retry_frist_s: unknown key retry_frist_s; did you mean retry_first_s?"
    ]


def test_unknown_table_without_a_near_one_lists_all(folder: Path) -> None:
    (line,) = refusal(folder, old="[panda]", new="[zzz]\n[panda]")
    assert line == "edge.toml:5: zzz: unknown key zzz; there are controller, panda, queues"


def test_unknown_key_in_a_queue(folder: Path) -> None:
    missing, unknown = refusal(folder, old="transformation_dir", new="transform_dir")
    assert missing.startswith(
        "edge.toml:11: queues.TOY.payload.transformation_dir: this key is missing. The only folder"
    )
    assert unknown.endswith("transform_dir: unknown key transform_dir; did you mean transformation_dir?")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "[panda]",
            'lease_s = "60"\n[panda]',
            "edge.toml:5: controller.lease_s: found '60' (a string), expected a number",
        ),
        ("[panda]", "dag_window = 2.5\n[panda]", "controller.dag_window: found 2.5 (a number), expected an integer"),
        ("[panda]", "dag_window = true\n[panda]", "controller.dag_window: found true (a boolean), expected an integer"),
        ("[panda]", "dag_window = 0\n[panda]", "found 0 (an integer), expected greater than or equal to 1"),
        ("[panda]", "lease_s = 12:30:00\n[panda]", "controller.lease_s: found a date or time, expected a number"),
        ("[panda]", "lease_s = inf\n[panda]", "controller.lease_s: found inf (a number), expected a finite number"),
        ("[panda]", "patience = 3\n[panda]", "controller.patience: found 3 (an integer), expected a table"),
        ("[panda]", "log_file = 3\n[panda]", "controller.log_file: found 3 (an integer), expected a path (a string)"),
        ("[panda]", 'log_level = "LOUD"\n[panda]', "expected 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ('"/scratch/harvest"', '"harvest"', "edge.toml:3: controller.work_dir: harvest is relative"),
        ('"edge01"', '"edge 01"', "controller.harvester_id: found 'edge 01' (a string)"),
        ('"edge01"', '".."', "controller.harvester_id: found '..' (a string)"),
        ("[queues.TOY]", '[queues."T Y"]\n[queues.TOY]', "queues.T Y:"),
        ('"https://panda', '"ftp://panda', "edge.toml:6: panda.url: this is no http:// or https:// URL"),
        ('"/data/in"', '"data/in"', "'data/in' is neither an absolute folder nor a URL"),
        ("[panda]", "[panda]\nclient_key = 'key.pem'", "client_key is of no use without client_certificate"),
        (
            "[panda]",
            "[panda]\nclient_certificate = 'c'\ntoken_file = 't'",
            "edge.toml:7: panda.token_file: token_file and",
        ),
        ("https://panda.example.org:25443/", 'http://h"\ntoken_file = "t', "readable on its way to an http:// URL"),
        ("[panda]", "[controller.patience]\njournal_poll_s = 5\n[panda]", "journal_poll_max_s (2) is less than"),
        ("[panda]", "[controller.patience]\nheartbeat_s = 100\n[panda]", "less than two heartbeats"),
        (
            "[panda]",
            'database = "mysql://u@h/d"\n[panda]',
            "the database must be sqlite:////absolute/path or postgresql",
        ),
        ("[panda]", 'database = "sqlite:///x.db"\n[panda]', "an SQLite URL needs four slashes"),
        ("[queues.TOY.payload]", "[queues.TOY.payload]\nranks_per_node = 3", "has no effect without mpi = true"),
        (
            "[queues.TOY.payload]",
            "[queues.TOY.payload]\nmpi = true",
            "the site toy has no launcher to start ranks with",
        ),
        (
            "[queues.TOY.payload]",
            "[queues.TOY.payload]\ndefault_walltime_s = 7200",
            "which is more than max_walltime_s (7200) of the site toy: set it to 7140 or less",
        ),
        (
            "[queues.TOY.payload]",
            "[queues.TOY.payload]\narguments = ['{jobid}']",
            "{jobid} is no placeholder; there are",
        ),
        (
            "[queues.TOY.payload]",
            "[queues.TOY.payload]\narguments = '--fast'",
            "found '--fast' (a string), expected a list",
        ),
        ("[queues.TOY.payload]", "[queues.TOY.payload]\nenvironment = {'a b' = ''}", "'a b' cannot be the name of an"),
        ("[queues.TOY.payload]", "[queues.TOY.payload]\nenvironment = {DB_PASSWORD = 'x'}", "looks like a secret"),
        ("toy.toml", "tiy.toml", "edge.toml:9: queues.TOY.site: there is no site file tiy.toml"),
        ('"toy.toml"', "3", "edge.toml:9: queues.TOY.site: expected the name of a site file (a string)"),
        ("[panda]", "[panda", "edge.toml:5: this is not valid TOML"),
    ],
)
def test_wrong_value_is_refused_with_its_place(folder: Path, old: str, new: str, said: str) -> None:
    assert said in "\n".join(refusal(folder, old=old, new=new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "max_nodes = 4",
            "min_nodes = 8\nmax_nodes = 4",
            "toy.toml:9: allocation.max_nodes: max_nodes (4) is less than",
        ),
        (
            "max_nodes = 4",
            "min_nodes = 2",
            "toy.toml:7: allocation.max_nodes: max_nodes (1) is less than min_nodes (2)",
        ),
        ("7200", "7200\nmargin_s = 7200", "toy.toml:10: allocation.margin_s: margin_s (7200) leaves nothing"),
        ("[batch]", "[batch]\nsignal_before_end_s = 8000", "signal_before_end_s (8000) would warn a batch job before"),
        (
            "[batch]",
            "[launcher]\nargv = ['run', '-n', '{rank}']\n[batch]",
            "{rank} is no placeholder; there are {all_cores}, {cores}",
        ),
        ("[batch]", "[launcher]\nargv = ['run', '{ranks']\n[batch]", "toy.toml:12: launcher.argv: expected '}' before"),
        ("[batch]", "[launcher]\nargv = ['run']\noptions = ['-v']\n[batch]", "options have no effect beside argv"),
        ('"/opt/payload/bin"', '"bin"', "software.payload_path.0: bin is relative"),
        (
            "prologue =",
            'cvmfs = ["/cvmfs/atlas.cern.ch"]\nprologue =',
            "software.cvmfs.0: '/cvmfs/atlas.cern.ch' is no name",
        ),
        ("cores = 8", "", "toy.toml:4: nodes.cores: this key is missing. Number of cores of a node"),
    ],
)
def test_wrong_site_is_refused_with_its_place(folder: Path, old: str, new: str, said: str) -> None:
    lines = refusal(folder, old=old, new=new, name="toy.toml")
    assert said in lines[0]
    assert lines[1:] == [
        "edge.toml:9: queues.TOY.site: the site file toy.toml cannot be used, for the reasons that are given for it"
    ]


def test_problems_of_all_files_are_told_together(folder: Path) -> None:
    (folder / "toy.toml").write_text(SITE.replace("cores", "kores"))
    assert len(refusal(folder, old="work_dir", new="lease_s = -1\nwork_dri")) == 6


def test_file_without_queues_is_refused(folder: Path) -> None:
    (folder / "edge.toml").write_text(CONTROLLER.partition("[queues")[0] + "[queues]\n")
    assert refusal(folder) == ["edge.toml:8: queues: no queue is named, so there is nothing to harvest"]


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file or directory$"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "latin.toml")


def test_environment_is_put_into_paths_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_SCRATCH", "/lustre/me")
    text = CONTROLLER.replace("/scratch", "${EDGE_SCRATCH}").replace("file:///data", "file://${EDGE_SCRATCH}")
    (folder / "edge.toml").write_text(text + "endpoints = {A = '${EDGE_SCRATCH}'}\n")
    (folder / "toy.toml").write_text(SITE.replace('"toy"', '"${EDGE_SCRATCH}"'))
    configuration = load(folder / "edge.toml")
    queue = configuration.queues["TOY"]
    assert configuration.controller.work_dir == Path("/lustre/me/harvest")
    assert queue.storage.outputs == "file:///lustre/me/out"
    assert queue.storage.endpoints["A"] == "/lustre/me"
    assert queue.site.name == "${EDGE_SCRATCH}"


def test_unknown_variable_is_refused(folder: Path) -> None:
    assert refusal(folder, old="/scratch", new="${NO_SUCH}") == [
        "edge.toml:3: controller.work_dir: the environment has no variable NO_SUCH, which ${NO_SUCH} stands for"
    ]


def test_content_of_named_files_is_not_in_the_models(folder: Path) -> None:
    (folder / "panda.token").write_text("hush-hush")
    (folder / "edge.toml").write_text(CONTROLLER.replace("[panda]", "[panda]\ntoken_file = 'panda.token'"))
    configuration = load(folder / "edge.toml")
    assert configuration.panda.token_file == folder / "panda.token"
    assert "hush-hush" not in repr(configuration) + configuration.model_dump_json()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://panda", "https://me:hush-hush@panda"),
        ("file:///data", "davs://me:hush-hush@data"),
        ("[panda]", 'database = "postgresql://me:hush-hush@host/name"\n[panda]'),
        ("[panda]", 'database = "postgresql://me@host/name?password=hush-hush"\n[panda]'),
        ("[panda]", 'dag_window = "https://me:hush-hush@panda"\n[panda]'),
        ("[panda]", '[panda]\nclient_certificate = """-----BEGIN\nhush-hush\n"""'),
        ("[panda]", '[panda]\npassword = "hush-hush"'),
        ("https://panda.example.org:25443/", 'http://panda.example.org"\ntoken_file = "t'),
    ],
)
def test_secret_is_refused_and_not_repeated(folder: Path, old: str, new: str) -> None:
    assert "hush-hush" not in "\n".join(refusal(folder, old=old, new=new))


def test_loader_is_light() -> None:
    program = "import sys, hpcharvest.config.loader; print({'parsl', 'sqlalchemy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
