from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from hpcharvest.config.schema import About, AllocationLimits, Batch, Nodes, Site, Software
from hpcharvest.engine.launch import prologue
from hpcharvest.model.shape import Shape
from hpcharvest.providers.dialect import BatchRequest
from hpcharvest.providers.local import LocalDialect
from hpcharvest.providers.script import render

GOLDEN = Path(__file__).parent.parent / "golden" / "local_script.sh"
REQUEST = BatchRequest(tag="me-1-abc", shape=Shape(nodes=2, walltime_s=90), folder=Path("/f"))
RUNNER = ["/usr/bin/python3", "-m", "hpcharvest.jumbo", "/work/it's $HOME"]
SITE = Site(
    site=About(name="here"),
    nodes=Nodes(cores=1),
    allocation=AllocationLimits(max_walltime_s=3600),
    batch=Batch(dialect="local", command=("batch",)),
    software=Software(payload_path=(Path("/opt/with space"), Path("/opt/b"))),
)


def script(text: str = "module load {python}") -> str:
    return render(LocalDialect(["batch"]), REQUEST, RUNNER, prologue(SITE, text))


def test_the_script_is_as_expected() -> None:
    assert script() == GOLDEN.read_text()


def test_the_shell_takes_it_and_starts_the_runner_with_its_words(tmp_path: Path) -> None:
    file = tmp_path / "script.sh"
    bash = shutil.which("bash")
    assert bash is not None
    file.write_text(script("").replace("exec /usr/bin/python3", "printf '%s\\n' \"$HPCHARVEST_NODES\""))
    done = subprocess.run(
        [bash, str(file)],
        env={"HPCHARVEST_BATCH_NODELIST": "a,b", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["a,b", "-m", "hpcharvest.jumbo", "/work/it's $HOME"]
