"""Connections and forked children: a child that kept one open would hide from the other end that its parent died.

Programs that are executed inherit none of them anyway; this is for children that go on as what their parent was.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgetful(Protocol):
    """Something with connections of its own."""

    def forget(self) -> None:
        """Close the descriptors, without a word to the other end."""


_KNOWN: weakref.WeakSet[Forgetful] = weakref.WeakSet()


def watch(one: Forgetful) -> None:
    """Have its connections forgotten in every child that is forked from now on."""
    _KNOWN.add(one)


def _forget_all() -> None:
    for one in list(_KNOWN):
        one.forget()
    _KNOWN.clear()


os.register_at_fork(after_in_child=_forget_all)
