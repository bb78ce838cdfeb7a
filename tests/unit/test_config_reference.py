"""The reference page says what the models say, and every key says what it means and in which unit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from hpcharvest.config import reference
from hpcharvest.config.base import Section
from hpcharvest.config.meanings import meanings
from hpcharvest.config.problems import section_of
from hpcharvest.config.schema import Configuration, Site

PAGE = Path(__file__).parents[2] / "docs/configuration.md"
UNITS = ("Number of", "How many", "factor")


def fields(model: type[Section]) -> Iterator[tuple[str, tuple[FieldInfo, str]]]:
    for name, field in model.model_fields.items():
        yield f"{model.__name__}.{name}", (field, meanings(model).get(name, ""))
        section = section_of(field.annotation)
        if section is not None:
            yield from fields(section)


FIELDS = dict([*fields(Configuration), *fields(Site)])


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.render(), "run scripts/make-docs"


@pytest.mark.parametrize("name", FIELDS)
def test_key_has_a_meaning_and_a_unit(name: str) -> None:
    field, meaning = FIELDS[name]
    assert meaning.rstrip().endswith(".")
    if field.annotation in {int, float}:
        assert name.endswith(("_s", "_mb", "_days")) or any(unit in meaning for unit in UNITS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_key_is_on_the_page(name: str) -> None:
    if section_of(FIELDS[name][0].annotation) is None:
        assert f"| `{name.partition('.')[2]}` |" in reference.render()
