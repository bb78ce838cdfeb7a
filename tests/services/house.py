"""What the rules of the house are made of: files of the tree, and what finds the lines that break a rule."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

import click

from hpcharvest.cli.main import main

ROOT: Final = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 40
LOGGING: Final = {"debug", "info", "warning", "error", "exception", "critical", "log"}

EXEMPTION = re.compile(r"(?:noqa|type:\s*ignore)(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[\w, -]*\])?")
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work/(?:main|shared)|root|tmp/brief)\b")
FILE_OF_OURS = re.compile(r"(?<![\w/.~-])((?:scripts|\.ci|docs|tests|site_configs|hpcharvest)/[\w./-]*\w)")
COMMAND = re.compile(r"(?:`|^\s*(?:\$ )?)(?:\.venv/bin/)?hpcharvest((?: [a-z][\w-]*)+)")
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


@dataclass(frozen=True)
class Source:
    """A text file of the tree: its path from the root, and what is in it; no nodes and comments if it is no Python."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(ast.parse(self.text))) if self.is_python else ()

    @cached_property
    def comments(self) -> tuple[tokenize.TokenInfo, ...]:
        tokens = tokenize.generate_tokens(io.StringIO(self.text if self.is_python else "").readline)
        return tuple(token for token in tokens if token.type == tokenize.COMMENT)

    @property
    def is_python(self) -> bool:
        return self.path.endswith(".py") or self.text.startswith("#!/usr/bin/env python")

    def matches(self, patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(self.path, pattern) for pattern in patterns)


Finder: TypeAlias = Callable[[Source], Iterator[int]]
"""Gives the numbers of the lines that break a rule."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What must not be, in which files; in those of `but` it may, for the reason that stands there."""

    found: Finder
    files: tuple[str, ...]
    but: Mapping[str, str] = field(default_factory=dict)


def imports(*modules: str) -> Finder:
    """Find imports of these modules, or of what is in them."""

    def found(source: Source) -> Iterator[int]:
        for node in source.nodes:
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if any(f"{name}.".startswith(f"{module}.") for name in names for module in modules):
                yield _line(node)

    return found


def uses(*names: str) -> Finder:
    """Find uses of these dotted names, and imports of them."""
    imported = imports(*names)

    def found(source: Source) -> Iterator[int]:
        yield from imported(source)
        for node in source.nodes:
            if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in names:
                yield _line(node)

    return found


def either(*finders: Finder) -> Finder:
    """Find what any of them finds."""

    def found(source: Source) -> Iterator[int]:
        for finder in finders:
            yield from finder(source)

    return found


def shell_arguments(source: Source) -> Iterator[int]:
    for node in source.nodes:
        if isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            yield node.value.lineno


def long_files(source: Source) -> Iterator[int]:
    if source.text.count("\n") > FILE_LINES:
        yield FILE_LINES + 1


def long_functions(source: Source) -> Iterator[int]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            told = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) is not None else 0
            if (node.end_lineno or 0) - node.lineno + 1 - told > FUNCTION_LINES:
                yield node.lineno


def broad_excepts(source: Source) -> Iterator[int]:
    """Find handlers of everything, but for those that raise it again."""
    for handler in _broad(source):
        if not any(isinstance(node, ast.Raise) for node in ast.walk(handler)):
            yield handler.lineno
    for node in source.nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress") and _is_broad(*node.args):
            yield node.lineno


def silent_excepts(source: Source) -> Iterator[int]:
    for handler in _broad(source):
        calls = [node.func for node in ast.walk(handler) if isinstance(node, ast.Call)]
        logged = any(isinstance(call, ast.Attribute) and call.attr in LOGGING for call in calls)
        if not logged and not any(isinstance(node, ast.Raise) for node in ast.walk(handler)):
            yield handler.lineno


def bare_exemptions(source: Source) -> Iterator[int]:
    for comment in source.comments:
        rest, exemptions = EXEMPTION.subn("", comment.string)
        if exemptions and not re.search(r"\w\w", rest):
            yield comment.start[0]


def machine_paths(source: Source) -> Iterator[int]:
    return _lines_with(MACHINE_PATH, source)


def dead_references(source: Source) -> Iterator[int]:
    """Find mentions of files of ours, and links, that lead nowhere."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        mentioned = [ROOT / name for name in FILE_OF_OURS.findall(line)]
        linked = [ROOT / Path(source.path).parent / name for name in LINK.findall(line)]
        if not all(path.exists() for path in mentioned + linked):
            yield number


def unknown_commands(source: Source) -> Iterator[int]:
    """Find commands of ours, in backquotes or in blocks of code, that the command line does not know."""
    in_block = False
    for number, line in enumerate(source.text.splitlines(), start=1):
        in_block ^= line.lstrip().startswith("```")
        found = [match for match in COMMAND.finditer(line) if in_block or match.group().startswith("`")]
        if not all(_is_known(match.group(1).split()) for match in found):
            yield number


def _is_known(words: list[str]) -> bool:
    command: click.Command | None = main
    while words and isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    return command is not None


def _broad(source: Source) -> Iterator[ast.ExceptHandler]:
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _is_broad(node.type)):
            yield node


def _is_broad(*types: ast.expr) -> bool:
    names = {ast.unparse(node) for one in types for node in ast.walk(one) if isinstance(node, ast.Name)}
    return bool(names & {"Exception", "BaseException"})


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 0))


def _lines_with(pattern: re.Pattern[str], source: Source) -> Iterator[int]:
    return (number for number, line in enumerate(source.text.splitlines(), start=1) if pattern.search(line))
