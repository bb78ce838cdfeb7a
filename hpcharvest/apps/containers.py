"""How each container engine is spoken to: one row of a table per engine, words in, words out. Pure.

A container here is another file system and nothing else: a payload keeps the node's network, processes, shared memory
and devices, as Apptainer and Shifter do by themselves. So MPI goes through, signals arrive, and the runner finds and
ends all processes of a payload. The launcher is outside, the container inside: `srun … apptainer exec … payload`.

Sources: the engines' own manuals, and the source of podman-hpc. Podman 4.3 is run in tests, Docker 20.10 was by hand;
the others were not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hpcharvest.config.schema import Container
from hpcharvest.model.image import ImageKind, ImageReference

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine's words, after those that begin each of its commands.

    {image}: the image to be run, asked for, pulled; {archive} and {form}: what is to be loaded; {file}: where the image
    is to be put, for an engine that keeps images as files; {source} and {bind}: a folder, and how it is seen; {folder}:
    where the payload works; {name}: a variable.
    """

    version: Words = ("--version",)
    """Answers if the engine is there."""
    store: str = ""
    """The program that knows its images; empty: the engine itself."""
    ask: Words = ()
    """Whether it has an image; empty: images are files, and are there if the file is."""
    pull: Words = ()
    load: Words = ()
    """Takes an image from an archive; empty: it cannot."""
    after: Words = ()
    """Has to follow once an archive was loaded."""
    by_id: bool = False
    """`ask` answers with the id of the image's content, by which it is run, whatever its name may come to mean."""
    run: Words = ()
    bind: str = ""
    """Shows a folder of ours to the payload; empty: the site's administrators have seen to it."""
    own_bind: str = "{bind}"
    """Shows what the site file names."""
    workdir: str = ""
    variable: str = ""
    """Hands on a variable; empty: it hands on all by itself."""
    ranks: Words = ()
    """Hands on what launchers tell ranks, where `variable` does not do."""
    gpus: Mapping[str, Words] = field(default_factory=dict)
    """Lets the payload at the node's GPUs, by their vendor; the variable says which of them are its own."""
    image: str = "{image}"
    failure: int = 0
    """The exit code by which it says that it could not start the container; 0: it has none that is its own."""


_DEVICES: Mapping[str, Words] = {
    "amd": ("--device=/dev/kfd", "--device=/dev/dri"),
    "intel": ("--device=/dev/dri",),
}
_ASK_ID = ("image", "inspect", "--format={{.Id}}", "{image}")
_RUN = ("run", "--rm", "--network=host", "--ipc=host", "--pid=host", "--log-driver=none", "--entrypoint=")
"""Without an entry point, which would come before the payload; without a second copy of what it writes to stdout."""

_PODMAN = Engine(
    ask=_ASK_ID,
    pull=("pull", "{image}"),
    load=("load", "--input={archive}"),
    run=(*_RUN, "--pull=never"),
    bind="--volume={source}",
    own_bind="--volume={bind}",
    workdir="--workdir={folder}",
    variable="--env={name}",
    ranks=tuple(
        f"--env={prefix}*" for prefix in ("PMI", "MPI", "OMPI_", "PRTE_", "PALS_", "SLURM_", "FLUX_", "JSM_", "ALPS_")
    ),
    gpus={"nvidia": ("--device=nvidia.com/gpu=all",), **_DEVICES},
    failure=125,
)

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        "apptainer": Engine(
            pull=("pull", "--force", "{file}", "docker://{image}"),
            load=("build", "--force", "{file}", "{form}:{archive}"),
            run=("exec",),
            bind="--bind={source}",
            own_bind="--bind={bind}",
            workdir="--pwd={folder}",
            gpus={"nvidia": ("--nv",), "amd": ("--rocm",), "intel": ("--bind=/dev/dri",)},
        ),
        "podman": replace(_PODMAN, by_id=True),
        # Its `pull` migrates an image, under its name, to where the nodes see it; its `load` does not.
        "podman-hpc": replace(_PODMAN, after=("migrate", "{image}"), gpus={"nvidia": ("--gpu",), **_DEVICES}),
        "shifter": Engine(
            version=("--help",),
            store="shifterimg",
            ask=("lookup", "docker:{image}"),
            pull=("pull", "docker:{image}"),
            own_bind="--volume={bind}",
            workdir="--workdir={folder}",
            gpus={"nvidia": ("--module=gpu",)},
            image="--image=docker:{image}",
        ),
        # It hands on no variables by a pattern: so no ranks.
        "docker": replace(_PODMAN, by_id=True, ranks=(), gpus={"nvidia": ("--gpus=all",), **_DEVICES}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What one payload has inside its container."""

    image: str
    """As `apps.images` said it is to be run."""
    folder: str
    """Its own, in which it works and may write."""
    reads: Words = ()
    """Folders that it may read."""
    variables: Words = ()
    """Names of environment variables that it gets, of an engine that hands on none by itself."""
    mpi: bool = False
    gpu_vendor: str = ""
    """Whose GPUs it uses; empty: none."""


def wrap(container: Container, inside: Inside, argv: Words) -> Words:
    """Give the command line that runs `argv` in a container."""
    engine = ENGINES[container.engine]
    words = [*begin(container), *engine.run]
    if engine.bind:
        words.append(engine.bind.replace("{source}", f"{inside.folder}:{inside.folder}"))
        words += [engine.bind.replace("{source}", f"{place}:{place}:ro") for place in inside.reads]
    words += [engine.own_bind.replace("{bind}", _both_sides(bind)) for bind in container.binds]
    words.append(engine.workdir.replace("{folder}", inside.folder))
    if engine.variable:
        words += [engine.variable.replace("{name}", name) for name in inside.variables]
    if inside.mpi:
        words += engine.ranks
    words += engine.gpus.get(inside.gpu_vendor, ())
    return (*words, *container.options, engine.image.replace("{image}", inside.image), *argv)


def version(container: Container) -> Words:
    """Give the command that answers if the engine is there."""
    return (*begin(container), *ENGINES[container.engine].version)


def ask(container: Container, image: str) -> Words:
    """Give the command that says whether the engine has an image, by name or id; empty: look for its file."""
    return _of_store(container, ENGINES[container.engine].ask, {"{image}": image})


def fetch(container: Container, reference: ImageReference, file: str) -> Words:
    """Give the command that pulls or loads an image, into `file` where images are files."""
    engine = ENGINES[container.engine]
    words = engine.load if reference.kind is ImageKind.ARCHIVE else engine.pull
    values = {"{image}": reference.wanted, "{archive}": reference.name, "{form}": reference.form, "{file}": file}
    return _of_store(container, words, values)


def after(container: Container, image: str) -> Words:
    """Give the command that must follow once an archive was loaded as `image`; empty: none."""
    return _of_store(container, ENGINES[container.engine].after, {"{image}": image})


def begin(container: Container) -> Words:
    """Give the words that begin each command of the engine."""
    return container.command or (container.engine,)


def _of_store(container: Container, words: Words, values: Mapping[str, str]) -> Words:
    if not words:
        return ()
    store = ENGINES[container.engine].store
    return (*((store,) if store else begin(container)), *(_filled(word, values) for word in words))


def _filled(word: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def _both_sides(bind: str) -> str:
    """Write `/folder` and `/folder:ro` with the place at which it is seen, as not every engine fills it in."""
    source, _, rest = bind.partition(":")
    return bind if rest.startswith("/") else f"{source}:{source}{':' if rest else ''}{rest}"
