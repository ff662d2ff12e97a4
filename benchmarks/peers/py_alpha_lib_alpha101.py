"""py-alpha-lib's alphas, timed in the oracle environment: its own transpiler, context and operators (float64, Rust).

    python py_alpha_lib_alpha101.py FORMULAS.json PANEL.npz THREADS

The formulas are the paper's texts by name. Prints one line of JSON: {"seconds": s, "cpu": s, "missing": share}.
Exit status 4: py-alpha-lib cannot be imported; it needs Python 3.12.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = {"open": "open", "high": "high", "low": "low", "close": "close", "vol": "volume", "vwap": "vwap"}


def main(formulas: str, panel: str, threads: str) -> None:
    # its thread pool reads this when it is first used
    os.environ["RAYON_NUM_THREADS"] = threads
    try:
        import polars as pl
        from alpha.context import ExecContext
        from alpha.lang.to_python import to_python
    except (ImportError, SyntaxError) as error:
        print(error, file=sys.stderr)
        sys.exit(4)
    with np.load(panel) as arrays:
        rows, names = arrays["close"].shape
        # one name's days after another's, as it wants them
        data = pl.DataFrame({its: np.ascontiguousarray(arrays[ours].T).ravel() for its, ours in COLUMNS.items()})
    space: dict[str, Any] = {"np": np}
    texts = json.loads(Path(formulas).read_text())
    for name, text in texts.items():
        exec(to_python(name, text, as_function=True, optimize=True, name_convertor=str.upper), space)
    context = ExecContext(data, securities=names, trades=rows)
    # starts its threads
    space[next(iter(texts))](context)
    seconds, cpu, missing = 0.0, 0.0, 0.0
    for name in texts:
        start, begun = time.perf_counter(), time.process_time()
        values = space[name](context)
        seconds += time.perf_counter() - start
        cpu += time.process_time() - begun
        missing += float(np.isnan(np.asarray(values, np.float64)).mean())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "missing": missing / len(texts)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
