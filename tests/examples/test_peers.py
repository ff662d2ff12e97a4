"""What the examples show of skfolio and qlib runs there as it stands, and says the same as ours."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from notebooks import cells, path_of

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / os.environ.get("FACTOR_ENGINE_ORACLE_PYTHON", ".venv-oracles/bin/python")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-oracles: run `make oracles`"),
]

NO_WORKFLOW = """
# When it is started qlib imports what logs experiments, with packages that the oracles do without.
import importlib.machinery, sys
from unittest import mock

class Nothing:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.startswith("qlib.workflow") else None
    def create_module(self, spec):
        return mock.MagicMock(__path__=[])
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Nothing())
"""


def ours(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name])
    return runpy.run_path(str(path_of(name)), run_name="__main__")


def theirs(name, folder, before, after):
    """Run the peer's code of an example behind `before`, and give what `after` saves into OUT."""
    text = "\n".join(cell.text for cell in cells(path_of(name)) if cell.kind == "markdown")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    script = folder / "peer.py"
    head = f"import numpy as np\nIN, OUT = {str(folder / 'in.npz')!r}, {str(folder / 'out.npz')!r}\n"
    script.write_text("\n".join([head, before, *blocks, after]))
    done = subprocess.run(
        [PYTHON, "-W", "ignore", script], cwd=folder, env={**os.environ, "HOME": str(folder)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "out.npz") as found:
        return dict(found)


def test_risk_and_the_book_of_least_risk_are_those_of_skfolio(tmp_path, monkeypatch):
    name = "coming_from_skfolio"
    space = ours(name, monkeypatch)
    arrays = {key: space[key] for key in ("X", "F", "variance", "weights")}
    names = {"names": space["names"], "factors": list(space["latest"].factor_names)}
    np.savez(tmp_path / "in.npz", **arrays)
    before = (
        f"names, factors = {names['names']!r}, {names['factors']!r}\nlocals().update(np.load(IN))\n"
        "import pandas as pd\n"
        "returns = pd.DataFrame(np.random.default_rng(0).standard_normal((30, len(names))) / 100, columns=names)\n"
    )
    after = (
        "np.savez(OUT, total=theirs.total.vol, factor=theirs.factors.vol_contrib, specific=theirs.idio.vol_contrib,"
        " least=their_weights)\n"
    )
    found = theirs(name, tmp_path, before, after)
    risk, best = space["risk"], space["best"]
    assert risk.total[0] == pytest.approx(float(found["total"]), rel=1e-10)
    np.testing.assert_allclose(risk.factor_contributions[0], found["factor"], atol=1e-12)
    assert risk.specific_contribution[0] == pytest.approx(float(found["specific"]), rel=1e-10)
    dense = space["X"] @ space["F"] @ space["X"].T + np.diag(space["variance"])
    assert best.weights @ dense @ best.weights <= found["least"] @ dense @ found["least"] * (1 + 1e-6)
    np.testing.assert_allclose(best.weights, found["least"], atol=2e-3)


def test_values_of_expressions_are_those_of_qlib(tmp_path, monkeypatch):
    name = "coming_from_qlib"
    space = ours(name, monkeypatch)
    panel, names = space["panel"], space["panel"].symbols[:12]
    columns = [panel.symbols.index(symbol) for symbol in names]
    place = tmp_path / "data"
    write_qlib(place, panel.dates, names, {
        field: panel.fields[field][:, columns] for field in ("open", "high", "low", "close", "volume")
    })  # fmt: skip
    given = f"folder = {str(place)!r}\nexpressions = {space['expressions']!r}\n"
    before = NO_WORKFLOW + given
    after = (
        "theirs.columns = list(expressions)\n"
        "wide = {n: theirs[n].unstack('instrument').sort_index() for n in expressions}\n"
        "np.savez(OUT, symbols=np.array(wide['ma'].columns.tolist()), days=wide['ma'].index.to_numpy(), "
        "**{n: frame.to_numpy(float) for n, frame in wide.items()})\n"
    )
    found = theirs(name, tmp_path, before, after)
    rows = np.searchsorted(panel.dates, found["days"].astype("datetime64[D]"))
    at = [panel.symbols.index(symbol) for symbol in found["symbols"].tolist()]
    assert sorted(found["symbols"].tolist()) == sorted(names)
    listed = lives(panel.fields["close"][np.ix_(rows, at)])
    assert 0 < (~listed).sum() < 0.1 * listed.size
    for expression in space["expressions"]:
        mine, other = space["found"][expression][np.ix_(rows, at)], found[expression]
        both = np.isfinite(mine) & np.isfinite(other)
        assert both.sum() > 1000
        # What is missing there is missing here, on every day from a name's first close to its last.
        np.testing.assert_array_equal(np.isfinite(mine)[listed], np.isfinite(other)[listed], err_msg=expression)
        # Behind its last close qlib gives nothing. Here a window speaks as long as it holds two pairs: 20 days do for
        # 18 more; where the close of the day stands in the expression too, there is none.
        assert not np.isfinite(other)[~listed].any()
        assert np.isfinite(mine)[~listed].sum() == (18 * left(listed) if expression == "corr" else 0), expression
        # qlib keeps and gives float32.
        np.testing.assert_allclose(mine[both], other[both], rtol=2e-4, atol=2e-4)


def lives(close):
    """Which days lie between a name's first close and its last, both included."""
    known = np.isfinite(close)
    return np.logical_or.accumulate(known) & np.logical_or.accumulate(known[::-1])[::-1]


def left(listed):
    """Count the names that left before the last day."""
    return int((~listed[-1]).sum())


def write_qlib(place, dates, names, fields):
    """Write prices as a data folder of qlib's: a calendar, instruments, and a file of float32 each field."""
    for part in ("calendars", "instruments"):
        (place / part).mkdir(parents=True)
    (place / "calendars" / "day.txt").write_text("\n".join(map(str, dates)) + "\n")
    lines = []
    for n, name in enumerate(names):
        known = np.flatnonzero(np.isfinite(fields["close"][:, n]))
        first, last = known[0], known[-1]
        lines.append(f"{name}\t{dates[first]}\t{dates[last]}")
        folder = place / "features" / name.lower()
        folder.mkdir(parents=True)
        for field, values in fields.items():
            row = np.concatenate([[first], values[first : last + 1, n]]).astype("<f4")
            row.tofile(folder / f"{field}.day.bin")
    (place / "instruments" / "all.txt").write_text("\n".join(lines) + "\n")
