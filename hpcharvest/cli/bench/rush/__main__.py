"""Both programs: `head FOLDER NODES RANGES` tells its figures, `nodes FOLDER NODES BATCH` does the ranges."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hpcharvest.cli.bench.rush import head, nodes

if __name__ == "__main__":
    what, folder, *numbers = sys.argv[1:]
    if what == "head":
        print(json.dumps(head.run(Path(folder), *map(int, numbers))))
    else:
        nodes.run(Path(folder), *map(int, numbers))
