"""The whole catalogue over a long panel, block by block, in a process of its own: time, and peak memory of the process.

    python library_history.py DATES NAMES THREADS

Prints one line of JSON.
"""

import json
import resource
import sys

import numpy as np
from library import clocks, market

from factors.library import Catalogue, compile_library


def main(dates: int, names: int, threads: int) -> None:
    """Run it."""
    library = compile_library(Catalogue.load().entries)
    fields, groups, days = market(dates, names)
    told: list[int] = []
    missing, spent, start = 0, np.zeros(2), clocks()
    blocks = library.run_blocks(
        fields, groups=groups, dates=days, threads=threads, progress=lambda done, _: told.append(done)
    )
    for _, block in blocks:
        spent += clocks() - start
        missing += int(np.isnan(block).sum())
        start = clocks()
    spent += clocks() - start
    found = {
        "factors": len(library.ids),
        "seconds": spent[0],
        "cpu": spent[1],
        "missing": missing / (len(library.ids) * dates * names),
        "told": len(told),
        "inputs_gb": sum(v.nbytes for v in fields.values()) / 1e9,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
