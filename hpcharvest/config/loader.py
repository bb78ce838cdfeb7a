"""Reading the configuration: the only module that looks at files and at the environment for it.

The problems of all files are gathered, and told together in one ConfigurationError.
"""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from hpcharvest.config.base import Context, Section
from hpcharvest.config.problems import explain
from hpcharvest.config.schema import Configuration, Site
from hpcharvest.errors import ConfigurationError

Table = TypeVar("Table", bound=Section)


def load(path: Path) -> Configuration:
    """Read a controller file and the site files that it names.

    Nothing is looked for on disk but these files: whether a configured path exists is for `hpcharvest doctor` to say.
    Raises ConfigurationError, one line a problem, each with file, line and key.
    """
    return _Reader().require(path, Configuration)


def load_site(path: Path) -> Site:
    """Read a site file. Raises ConfigurationError, one line a problem, each with file, line and key."""
    return _Reader().require(path, Site)


def shipped_sites() -> Path:
    """Return the folder of the site files that come with hpcharvest."""
    return Path(str(files("hpcharvest"))) / "site_configs"


class _Reader:
    """One reading of files that belong together."""

    def __init__(self) -> None:
        self._problems: list[str] = []
        self._sites: dict[Path, Site | None] = {}

    def require(self, path: Path, model: type[Table]) -> Table:
        table = self._read(path.absolute(), model)
        if table is None or self._problems:
            raise ConfigurationError("\n".join(self._problems))
        return table

    def _read(self, path: Path, model: type[Table]) -> Table | None:
        """Read one file; on problems note them and return None."""
        try:
            text = path.read_text(encoding="utf-8")
            data = tomllib.loads(text)
        except OSError as error:
            self._problems.append(f"{path}: cannot be read: {error.strerror or error}")
            return None
        except UnicodeDecodeError as error:
            self._problems.append(f"{path}: cannot be read: {error}")
            return None
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"line (\d+)", str(error))
            self._problems.append(f"{path}:{place[1] if place else 1}: this is not valid TOML: {error}")
            return None
        context = Context(folder=path.parent, environ=os.environ, site=partial(self._site, path.parent))
        try:
            return model.model_validate(data, context=context)
        except ValidationError as error:
            self._problems += explain(error, model, path, text)
            return None

    def _site(self, folder: Path, name: str) -> Site:
        path = _find_site(folder, name)
        if path not in self._sites:
            self._sites[path] = self._read(path, Site)
        site = self._sites[path]
        if site is None:
            raise ValueError(f"the site file {path} cannot be used, for the reasons that are given for it")
        return site


def _find_site(folder: Path, name: str) -> Path:
    """Find a site file beside the controller file (or by its absolute path), else among those that are shipped."""
    shipped = shipped_sites()
    for place in (folder, shipped):
        if (place / name).is_file():
            return place / name
    known = sorted(str(path.relative_to(shipped)) for path in shipped.rglob("*.toml"))
    advice = " or ".join(get_close_matches(name, known, n=1)) or ", ".join(known)
    raise ValueError(
        f"there is no site file {name} in {folder} or among those that are shipped; did you mean {advice}?"
    )
