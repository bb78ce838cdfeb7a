"""What each key means: the docstring below it in its model, read from the source when somebody wants to know."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from textwrap import dedent

from hpcharvest.config.base import Section


@cache
def meanings(model: type[Section]) -> Mapping[str, str]:
    """Return the docstring of each field of `model`, inherited ones included; a field without one is not in it.

    Pydantic can do this for every model as it is made (`use_attribute_docstrings`), but then each start of the
    controller parses the sources of all of them, to throw the sentences away.
    """
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, Section):
            found |= _docstrings(dedent(inspect.getsource(kind)))
    return found


def _docstrings(source: str) -> dict[str, str]:
    """Return what stands as a string right below each annotated name of a class."""
    made = ast.parse(source).body[0]
    found = {}
    for field, text in pairwise(made.body if isinstance(made, ast.ClassDef) else []):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = inspect.cleandoc(words)
    return found
