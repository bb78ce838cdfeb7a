"""The programs of faces, and how to install them.

`python -m hpcharvest.sandbox.batch.faces --spool FOLDER FACE install BIN` puts the programs of FACE into BIN; any other
word after FACE is one of its programs, with its arguments.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hpcharvest.sandbox.batch import faces

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run one program of a face; give its exit code."""
    parser = argparse.ArgumentParser(prog="hpcharvest.sandbox.batch.faces")
    parser.add_argument("--spool", type=Path, required=True, help="the folder of the cluster")
    parser.add_argument("face", choices=faces.FACES)
    parser.add_argument("program")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args(argv)
    if asked.program == "install":
        print(faces.install(asked.face, asked.spool, Path(asked.arguments[0])))
        return 0
    return faces.commands(asked.face)[asked.program](asked.spool, asked.arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
