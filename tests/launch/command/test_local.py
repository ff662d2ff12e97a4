"""A book's risk from two files."""

import json

import numpy as np
import pytest

from factors.factor_model.model import FactorModel
from factors.sample.market import sample_market
from launch.command.main import main


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    path = tmp_path_factory.mktemp("market") / "prices.parquet"
    frame = sample_market(n_assets=40, n_days=300).panel.to_frame()
    frame.write_parquet(path)
    return path, frame


def test_the_parts_sum_to_the_models_risk(market, tmp_path, capsysbinary):
    path, frame = market
    last = frame.filter(frame["date"] == frame["date"].max())["symbol"].to_list()
    book = tmp_path / "book.csv"
    book.write_text(f"symbol,weight\n{last[0]},0.6\n{last[3]},0.4\n")
    assert main(["risk", str(book), "--market", str(path), "--json"]) == 0
    answer = json.loads(capsysbinary.readouterr().out)
    latest = FactorModel().fit(frame).latest()
    held = np.zeros(len(latest.symbols))
    held[[latest.symbols.index(last[0]), latest.symbols.index(last[3])]] = 0.6, 0.4
    X = np.nan_to_num(latest.exposures)
    full = X @ latest.factor_covariance @ X.T + np.diag(np.nan_to_num(latest.specific_variance))
    expected = np.sqrt(held @ full @ held * 252)
    assert answer["volatility_annual"] == pytest.approx(expected, rel=1e-9)
    specific = answer["specific_volatility_annual"] ** 2 / answer["volatility_annual"]
    by_factor = sum(row["contribution_annual"] for row in answer["by_factor"])
    assert by_factor + specific == pytest.approx(expected, rel=1e-9)
    assert sum(row["contribution_annual"] for row in answer["by_name"]) == pytest.approx(expected, rel=1e-9)
    assert answer["uncovered"] == []


def test_what_is_wrong_is_named(market, tmp_path, capsys):
    path, _ = market
    book = tmp_path / "book.csv"
    book.write_text("symbol,weight\nNOBODY,1\n")
    assert main(["risk", str(book), "--market", str(path)]) == 1
    assert "NOBODY" in capsys.readouterr().err
    assert main(["risk", str(tmp_path / "absent.csv"), "--market", str(path)]) == 1
    assert "absent.csv" in capsys.readouterr().err
    (tmp_path / "prices.csv").write_text("date,symbol,close\n2024-01-02,A,1\n")
    book.write_text("symbol,weight\nA,1\n")
    assert main(["risk", str(book), "--market", str(tmp_path / "prices.csv")]) == 1
    assert "asset_returns" in capsys.readouterr().err
