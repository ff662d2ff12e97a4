"""The worked example of the pages, run as it stands there: from a CSV with faults to a clean model."""

import ast
import contextlib
import io
import re
from pathlib import Path

import polars as pl
import pytest

from engine.market_file import data_market
from factors import FactorModel, ModelSettings, Panel
from factors.factor_model.settings import ModelSettings as Settings

ROOT = Path(__file__).parents[3]
PAGE = (
    (ROOT / "docs" / "model.md").read_text().split("### From a CSV with faults to a clean model")[1].split("\n## ")[0]
)
CSV = re.search(r"\$ cat prices\.csv\n(.*?)```", PAGE, re.DOTALL).group(1)
CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)


def steps():
    """Statements of the page, each with the comment under it: what it prints, or the error that it ends with."""
    lines, said = CODE.splitlines(), []
    for node in ast.parse(CODE).body:
        below = lines[node.end_lineno : node.end_lineno + 1]
        said.append((ast.unparse(node), below[0][2:] if below and below[0].startswith("# ") else None))
    return said


def test_the_page_says_what_each_step_answers(tmp_path, monkeypatch):
    (tmp_path / "prices.csv").write_text(CSV)
    monkeypatch.chdir(tmp_path)
    names = {}
    answered = 0
    for statement, comment in steps():
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(statement, names)
            answer = printed.getvalue().strip() or None
        except Exception as error:  # noqa: BLE001  which error it is, is what the page says
            answer = f"{type(error).__name__}: {error}"
        if comment is None:
            assert answer is None, statement
            continue
        answered += 1
        # Dots on the page stand for what is left out.
        parts = [re.escape(part.strip()) for part in comment.rstrip(")").split("...")]
        assert re.match(".*".join(parts), answer, re.DOTALL), (comment, answer)
    assert answered == 5
    assert names["model"].panel_.fields["close"][:, 0].tolist() == pytest.approx([12.0, 12.12])


def test_the_settings_of_the_readme_read_the_same_file(tmp_path):
    (tmp_path / "prices.csv").write_text(CSV)
    written = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "model.toml").write_text(written)
    market = data_market(tmp_path / "prices.csv", tmp_path, settings=tmp_path / "model.toml")
    settings = Settings.from_toml(tmp_path / "model.toml")
    panel = Panel.from_frame(pl.read_ipc_stream(market.path), intake=settings.read_as)
    assert [str(date) for date in panel.dates] == ["2024-02-01", "2024-02-02"]
    assert FactorModel(ModelSettings(intake=settings.intake)).fit(panel).quality_.lines == []
