"""The reference page of the configuration, made from the models, so that it never says anything else than they do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hpcharvest.config.base import Section
from hpcharvest.config.meanings import meanings
from hpcharvest.config.problems import is_optional, section_of
from hpcharvest.config.schema import Configuration, Site

EXAMPLE = """\
[controller]
harvester_id = "edge01"
work_dir = "/scratch/harvest"
state_dir = "/var/lib/hpcharvest"

[panda]
url = "https://pandaserver.example.org:25443"
token_file = "panda.token"
origin = "atlas.production"

[queues.EXAMPLE_QUEUE]
site = "generic/local.toml"

[queues.EXAMPLE_QUEUE.payload]
transformation_dir = "/scratch/software/transformations"

[queues.EXAMPLE_QUEUE.storage]
inputs = "file:///scratch/data/in"
outputs = "file:///scratch/data/out"
"""
"""A controller file with little more than what must be there."""

_HEAD = """\
# Configuration

<!-- Made by scripts/make-docs from hpcharvest/config: change the descriptions there. -->

`hpcharvest run --config FILE.toml` reads a **controller file**, in which each PanDA queue names a **site file**. Both
are [TOML](https://toml.io). Nothing is guessed: an unknown key, a value of a wrong type or one that cannot work is
refused at the start, all problems together, each with file, line and key.

- A number is not written as a string, nor a string as a number; where a number is expected, an integer will do.
- Times are seconds unless the key says otherwise.
- In paths, in storage locations and in `batch.command`, `${NAME}` stands for the environment variable of that name,
  which must exist. A relative path counts from the folder of the file in which it is written.
- No secret stands in these files, only the paths of the files that hold one.

The least that a controller file needs:

```toml
"""
_NAMES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "true or false", Path: "path"}


def render() -> str:
    """Return the page, in Markdown."""
    parts = [_HEAD + EXAMPLE + "```\n"]
    for title, model in (("The controller file", Configuration), ("The site file", Site)):
        parts.append(f"## {title}\n")
        parts += [_table(path, section, meaning) for path, section, meaning in _sections(model)]
    return "\n".join(parts)


def _sections(model: type[Section], path: str = "") -> Iterator[tuple[str, type[Section], str]]:
    """Give each table of a file: its path, its model and its meaning, in the order of the models."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is None or _written(field):
            continue
        here = f"{path}.{name}".lstrip(".") + (".NAME" if get_origin(field.annotation) is Mapping else "")
        yield here, section, _line(meanings(model).get(name))
        yield from _sections(section, here)


def _table(path: str, section: type[Section], meaning: str) -> str:
    rows = [
        f"| `{name}` | {_kind(field)} | {_default(field)} | {_line(meanings(section).get(name))} |"
        for name, field in section.model_fields.items()
        if _written(field) or section_of(field.annotation) is None
    ]
    return "\n".join(
        [f"### `[{path}]`\n", f"{meaning}\n", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _written(field: FieldInfo) -> str:
    """Return how a field is written in the file, where that is not how it is held."""
    extra = field.json_schema_extra
    return str(extra.get("written", "")) if isinstance(extra, dict) else ""


def _kind(field: FieldInfo) -> str:
    return _written(field) or _type_name(field.annotation) + _bounds(field)


def _type_name(annotation: Any) -> str:
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if is_optional(annotation):
        return _type_name(get_args(annotation)[0])
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f'`"{one}"`' for one in parts)
    if origin is tuple:
        return f"list of {_type_name(parts[0])}s"
    if origin is Mapping:
        return f"table of {_type_name(parts[1])}s"
    return _NAMES[annotation]


def _bounds(field: FieldInfo) -> str:
    """Tell the least value, as the field's constraints have it."""
    for one in field.metadata:
        if getattr(one, "gt", None) is not None:
            return f" > {one.gt:g}"
        if getattr(one, "ge", None) is not None:
            return f" ≥ {one.ge:g}"
    return ""


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _line(field.default_factory.__doc__).rstrip(".").removeprefix("Return ")
    if field.default is PydanticUndefined:
        return "**required**"
    return _value(field.default)


def _value(value: object) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{value:g}`" if isinstance(value, int | float) else f'`"{value}"`'


def _line(text: str | None) -> str:
    """Make one line of a description, fit for a cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")
