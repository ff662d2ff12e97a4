"""The factor library's actor on a small model: definitions, values, correlations, formulas of the caller's own."""

import os
import sys
import threading

import numpy as np
import polars as pl
import pytest
from fixtures_ray import until
from scipy.stats import pearsonr, rankdata
from whole_catalogue import whole_catalogue

from actors.library import saved
from actors.library.formulas import Formulas, read_registered
from actors.library.live_library import LiveLibrary
from actors.library.saved import read_saved
from actors.library.tables import ValueTables
from actors.library.values import window_values
from actors.runtime.niceness import NICENESS
from actors.workloads.factor_library import FactorLibrary
from actors.workloads.factor_model_creation import FactorModelCreation
from contracts import library_requests as lb
from contracts import requests as rq
from contracts.errors import InvalidInput, Unavailable, UnknownFactor, UnknownSymbol
from contracts.frames import encode
from contracts.settings import settings
from factors.library import Catalogue
from factors.library.definitions.fields import library_fields
from factors.panel.panel import Panel
from factors.sample.market import sample_market

COLUMNS = {"returns": "asset_returns"}
N_DAYS = 90


@pytest.fixture(scope="module")
def market():
    return Panel.from_frame(sample_market(n_assets=30, n_days=N_DAYS).panel.to_frame(names=COLUMNS))


@pytest.fixture(scope="module")
def writer(market, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
    settings.cache_clear()
    actor = started(FactorModelCreation)
    panel = market.select(dates=market.dates[:-2])
    ask(actor.create_model, rq.CreateModel(model_id="m", feature_data=encode(panel.to_frame(names=COLUMNS))))
    plain = panel.to_frame(names=COLUMNS).select("date", "symbol", "asset_returns", "market_cap", "sector", "close")
    ask(actor.create_model, rq.CreateModel(model_id="plain", feature_data=encode(plain)))
    yield actor
    patch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def library(writer):
    return started(FactorLibrary)


def started(kind):
    actor = kind()
    assert actor._ready.wait(150)
    assert actor._state == "READY", actor._reason
    return actor


def frame_of(market, rows):
    return market.select(dates=market.dates[rows]).to_frame(names=COLUMNS)


def ask(method, request):
    return method(request)


def test_definitions_tell_what_is_loaded_computable_and_missing_and_why(library):
    body = ask(library.definitions, rq.Definitions(model_id="m")).body
    assert body["loaded"] == len(body["definitions"]) >= 506
    assert body["computable"] + len(body["missing"]) == body["loaded"]
    assert body["computable"] >= 506
    plain = ask(library.definitions, rq.Definitions(model_id="plain")).body
    assert plain["computable"] < body["computable"]
    assert "shares" in plain["proxies"]
    assert all(reason.startswith("needs ") for reason in plain["missing"].values())


def test_without_a_model_nothing_is_computable_and_the_reason_says_so(library):
    body = ask(library.definitions, rq.Definitions()).body
    assert body["computable"] == 0
    assert set(body["missing"].values()) == {"no model is loaded"}


def test_one_definition_is_that_of_the_list_under_any_of_its_names(library):
    listed = {row["id"]: row for row in ask(library.definitions, rq.Definitions(model_id="m")).body["definitions"]}
    alias = next(iter(library.formulas.catalogue.aliases.values()))
    body = ask(library.factor_definition, lb.FactorDefinition(factor=alias.id, model_id="m")).body
    assert {name: body[name] for name in listed[alias.alias_of]} == listed[alias.alias_of]
    assert alias.id in body["other_names"]
    assert (body["computable"], body["missing"]) == (True, None)
    plain = ask(library.definitions, rq.Definitions(model_id="plain")).body
    [name, reason] = next(iter(plain["missing"].items()))
    poor = ask(library.factor_definition, lb.FactorDefinition(factor=name, model_id="plain")).body
    assert (poor["computable"], poor["missing"]) == (False, reason)
    proxied = ask(library.factor_definition, lb.FactorDefinition(factor="barra_stom", model_id="plain")).body
    assert set(proxied["proxies"]) == set(plain["proxies"]) & set(proxied["inputs"])


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("factor_definition", lb.FactorDefinition(factor="barra_rstrr")),
        ("factor_neighbours", lb.FactorNeighbours(factor="barra_rstrr", model_id="m")),
    ],
)
def test_an_unknown_factor_is_an_error_of_that_field_with_the_nearest_names(library, method, request_):
    with pytest.raises(UnknownFactor, match="barra_rstr, ") as caught:
        ask(getattr(library, method), request_)
    assert caught.value.field == "factor"


def test_a_category_holds_its_definitions_and_an_unknown_one_is_named(library):
    body = ask(library.factor_category, rq.FactorCategory(category="alpha101", model_id="m")).body
    assert body["loaded"] == 101
    assert {d["category"] for d in body["definitions"]} == {"alpha101"}
    with pytest.raises(UnknownFactor, match="nonsense"):
        ask(library.factor_category, rq.FactorCategory(category="nonsense"))


def test_a_formula_of_the_callers_own_is_evaluated(library, market):
    request = rq.EvaluateFormula(formula="close / delay(close, 5) - 1", model_id="m")
    answer = ask(library.evaluate_formula, request)
    closes = market.fields["close"][:-2]
    expected = dict(zip(market.symbols, closes[-1] / closes[-6] - 1, strict=True))
    assert answer.values
    for symbol, value in answer.values.items():
        assert value == pytest.approx(expected[symbol], rel=1e-12)
    assert answer.details["warmup"] == 5


def test_a_formula_follows_the_conventions_that_it_is_asked_under(library):
    def names(**more):
        return set(ask(library.evaluate_formula, rq.EvaluateFormula(formula=text, model_id="m", **more)).values)

    # The first value of a window that is longer than the history needs min_periods = one.
    text = "mean(close, 200)"
    assert not names()
    everybody = names(conventions="qlib")
    assert names(conventions={"min_periods": "one", "absent": "counted"}) == everybody != set()
    # Two names have no row on the last day: qlib gives them the mean of the days before.
    assert everybody - names(conventions={"min_periods": "one"}) == {"S0001", "S0028"}
    for wrong, field in (
        ({"min_periods": "two"}, "conventions.min_periods"), ({"nonsense": 1}, "conventions.nonsense"),
        ("nobody", "conventions"), ({"base": {"base": "qlib"}}, "conventions.base"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            names(conventions=wrong)
        assert caught.value.field == field
    with pytest.raises(InvalidInput, match="registered"):
        names(conventions="qlib", register_as="not_kept")


def test_a_formula_of_another_dialect_is_translated_and_the_translation_shown(library, market):
    request = rq.EvaluateFormula(formula="Mean($close, 5) / Ref($close, 1)", dialect="qlib", model_id="m")
    answer = ask(library.evaluate_formula, request)
    closes = market.fields["close"][:-2]
    assert answer.values
    for symbol, value in answer.values.items():
        own = closes[:, market.symbols.index(symbol)]
        assert value == pytest.approx(np.nanmean(own[-5:]) / own[-2], rel=1e-12)
    shown = answer.details["translation"]
    assert shown == {"formula": "(mean(close, 5) / delay(close, 1))", "conventions": "qlib", "notes": []}
    with pytest.raises(InvalidInput, match="unknown operator 'Meen'; expected Mean") as caught:
        ask(library.evaluate_formula, rq.EvaluateFormula(formula="Meen($close, 5)", dialect="qlib", model_id="m"))
    assert caught.value.field == "formula"


def test_a_malformed_formula_says_where(library):
    with pytest.raises(InvalidInput) as caught:
        ask(library.evaluate_formula, rq.EvaluateFormula(formula="rank(close,,)", model_id="m"))
    assert caught.value.field == "formula"
    assert "line 1, column" in caught.value.detail


def test_a_formula_whose_field_the_model_lacks_says_which(library):
    with pytest.raises(InvalidInput, match="earnings"):
        ask(library.evaluate_formula, rq.EvaluateFormula(formula="earnings / market_cap", model_id="plain"))


def test_all_factors_of_a_symbol_follow_the_appended_days(library, writer, market):
    symbol = str(market.symbols[int(np.flatnonzero(np.isfinite(market.fields["close"][-3:]).all(axis=0))[0])])
    first = ask(library.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m"))
    assert first.details["date"] == str(market.dates[-3])
    defined = [v for v in first.values.values() if v is not None]
    assert len(defined) > 250
    for row in (-2, -1):
        day = market.select(dates=market.dates[row:][:1])
        ask(writer.append_day, rq.AppendDay(model_id="m", feature_data=encode(day.to_frame(names=COLUMNS))))
        stepped = ask(library.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m"))
        assert stepped.details["date"] == str(market.dates[row])
    assert library.live.known("m").steps == 2
    other = started(FactorLibrary)
    anew = ask(other.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m"))
    assert anew.values == stepped.values
    assert anew.details == stepped.details
    results = ask(library.factor_results, lb.FactorResults(symbol=symbol, model_id="m"))
    assert results.values == stepped.values


def test_chosen_factors_on_a_past_date_are_those_of_that_date(library, market):
    symbol = str(market.symbols[0])
    ids = ["alpha101_101", "alpha101_012"]
    known = library.formulas.catalogue.entries
    ids = [i for i in ids if i in known] or list(known)[:2]
    date = market.dates[60].item()
    answer = ask(
        library.calculate_factors,
        rq.CalculateFactors(symbol=symbol, model_id="m", factors=ids, date_requested=date),
    )
    assert list(answer.values) == ids
    assert answer.details["date"] == str(market.dates[60])
    with pytest.raises(UnknownFactor, match="nonsense"):
        ask(library.calculate_factors, rq.CalculateFactors(symbol=symbol, model_id="m", factors=["nonsense"]))
    with pytest.raises(UnknownSymbol):
        ask(library.calculate_factors, rq.CalculateFactors(symbol="NOPE", model_id="m"))


def whole_history(library, market, ids, names=slice(None)):
    """Values by the batch, over everything, [n_factors, n_dates, n_assets]."""
    fields = library_fields(market)
    found = library.formulas.chosen(tuple(ids)).run(fields.fields, groups=fields.groups, dates=market.dates)
    return np.stack([found[name] for name in ids])


def test_windows_of_the_whole_catalogue_speak_before_they_are_full_when_asked(library, market):
    symbol, date = market.symbols[0], market.dates[60]
    asked = {"symbol": symbol, "model_id": "m", "date_requested": date.astype(object)}
    strict = ask(library.calculate_factors, rq.CalculateFactors(**asked)).values
    early = ask(library.calculate_factors, rq.CalculateFactors(**asked, min_periods="one")).values
    assert early.keys() == strict.keys()
    spoken = {name for name in early if early[name] is not None}
    full = {name for name in strict if strict[name] is not None}
    assert len(spoken) > len(full) + 30  # sixty days are less than a window of a quarter
    entries = whole_catalogue().entries
    plain = [name for name in sorted(spoken - full) if entries[name].conventions.name == "paper"][:5]
    for name in plain:
        evaluated = rq.EvaluateFormula(
            formula=entries[name].formula, model_id="m", date_requested=date.astype(object), symbols=[symbol],
            conventions={"min_periods": "one"},
        )  # fmt: skip
        assert ask(library.evaluate_formula, evaluated).values[symbol] == early[name]
    section = rq.FactorCrossSection(
        factors=plain, model_id="m", date_requested=date.astype(object), symbols=[symbol], min_periods="one"
    )
    shown = ask(library.factor_cross_section, section).values
    assert [shown[name]["raw"][0] for name in plain] == [early[name] for name in plain]
    window = lb.FactorCorrelations(
        factors=plain[:2], model_id="m", window_days=5, date_requested=date.astype(object), min_periods="one"
    )
    assert ask(library.factor_correlations, window).values["correlation"][0][plain[0]] == pytest.approx(1.0)


def test_a_past_date_of_every_factor_is_what_the_batch_over_the_whole_history_gives(library, market):
    """Each factor gets its look-back, also those that speak before their window is full, recursive ones everything."""
    row = 70
    request = rq.CalculateFactors(
        symbol=market.symbols[0], model_id="m", date_requested=market.dates[row].item(), neutralise_by="none"
    )
    ids = tuple(ask(library.calculate_factors, request).values)
    assert len(ids) > 500
    (day,) = [day for day in library._days.values() if day.ids == ids and day.date == market.dates[row]]
    np.testing.assert_array_equal(day.values, whole_history(library, market, ids)[:, row])


def test_the_window_of_correlations_is_that_of_the_batch(library, market):
    ids = (*library.formulas.catalogue.categories()["beta"], "ta_rsi_14", "alpha101_101")
    version = library.slices.head("m")
    for end, n_days in ((60, 10), (75, 76), (40, 1)):
        values, groups = window_values(library.formulas, ids, version, end, n_days, 1)
        window = slice(end + 1 - n_days, end + 1)
        np.testing.assert_array_equal(values, whole_history(library, market, ids)[:, window])
        assert groups["sector"].shape == (n_days, len(market.symbols))


def test_the_library_of_a_model_with_proxies_follows_as_it_would_be_computed_anew(library, writer, market):
    """The index that stands for a missing benchmark goes on from its level, though a step reads two days only."""
    wanted = ["date", "symbol", "asset_returns", "market_cap", "sector", "open", "high", "low", "close", "volume"]
    frame = market.to_frame(names=COLUMNS).select(wanted)
    days = [frame.filter(pl.col("date") == date.item()) for date in market.dates[-3:]]
    history = frame.filter(pl.col("date") < market.dates[-3].item())
    ask(writer.create_model, rq.CreateModel(model_id="proxied", feature_data=encode(history)))
    ask(library.update_factors, rq.UpdateFactors(model_id="proxied"))
    for day in days:
        ask(writer.append_day, rq.AppendDay(model_id="proxied", feature_data=encode(day)))
    ask(library.update_factors, rq.UpdateFactors(model_id="proxied"))
    live = library.live.known("proxied")
    assert (live.steps, str(live.day.date)) == (3, str(market.dates[-1]))
    assert "gtja191_149" in live.day.ids
    anew = LiveLibrary(library.formulas, library.slices.head("proxied"), 1)
    assert anew.day.ids == live.day.ids
    np.testing.assert_array_equal(live.day.values, anew.day.values)


def test_a_version_that_is_not_the_last_one_continued_is_warmed_anew(library, writer, market):
    frame = market.select(dates=market.dates[:40]).to_frame(names=COLUMNS)
    ask(writer.create_model, rq.CreateModel(model_id="changed", feature_data=encode(frame)))
    ask(library.update_factors, rq.UpdateFactors(model_id="changed"))
    other = frame.with_columns(close=pl.col("close") * pl.Series(np.linspace(1.0, 2.0, frame.height)))
    ask(writer.create_model, rq.CreateModel(model_id="changed", feature_data=encode(other)))
    answer = ask(library.update_factors, rq.UpdateFactors(model_id="changed"))
    assert (answer.model_version, answer.details["steps"]) == (2, 0)


def test_a_restarted_actor_takes_up_the_saved_state_and_replays_the_days_since(library, writer, market, monkeypatch):
    monkeypatch.setattr(saved, "QUIET_S", 0.05)
    ask(writer.create_model, rq.CreateModel(model_id="saved", feature_data=encode(frame_of(market, slice(0, 60)))))
    ask(library.update_factors, rq.UpdateFactors(model_id="saved"))
    until(library.live.saved.path("saved").exists, "the state is written")
    monkeypatch.setattr(saved, "QUIET_S", 3600.0)  # or a slow machine would write the next day's state, too
    ask(writer.append_day, rq.AppendDay(model_id="saved", feature_data=encode(frame_of(market, slice(60, 61)))))
    stepped = ask(library.update_factors, rq.UpdateFactors(model_id="saved", values=True))
    again = started(FactorLibrary)
    answer = ask(again.update_factors, rq.UpdateFactors(model_id="saved", values=True))
    # one step, not a warm-up: that would be at the last day without any
    assert answer.details["steps"] == 1
    assert answer.tables == stepped.tables


def test_a_saved_state_of_another_catalogue_or_half_a_file_is_not_taken_up(library, writer, market, caplog):
    (path, *_) = library.live.saved.files()
    assert read_saved(path, library.formulas) is not None
    fewer = Catalogue(dict(list(library.formulas.catalogue.entries.items())[:5]), {}, {})
    assert read_saved(path, Formulas(fewer, {})) is None
    half = path.with_name("half.npz")
    half.write_bytes(path.read_bytes()[:1000])
    assert read_saved(half, library.formulas) is None
    assert "cannot be read" in caplog.text
    half.unlink()


def test_an_update_that_does_not_wait_says_how_far_it_is_and_makes_no_event(library, writer, market):
    ask(writer.create_model, rq.CreateModel(model_id="later", feature_data=encode(frame_of(market, slice(0, 50)))))
    answer = ask(library.update_factors, rq.UpdateFactors(model_id="later", wait=False))
    assert answer.event is False
    assert answer.details["state"] in ("warming", "live")
    ask(library.update_factors, rq.UpdateFactors(model_id="later"))
    states = library.notes()["live_models"]
    assert (states["later"]["state"], states["later"]["date"]) == ("live", str(market.dates[49]))
    assert sum(state["state"] == "live" for state in states.values()) == settings().library_models


def test_a_request_that_will_not_wait_for_a_warm_up_is_told_how_far_it_is(library, writer, market):
    ask(writer.create_model, rq.CreateModel(model_id="cold", feature_data=encode(frame_of(market, slice(0, 50)))))
    with pytest.raises(Unavailable, match="'cold' is being warmed") as caught:
        library.live.current("cold", library.formulas, 0.0)
    assert caught.value.retry_after_s
    assert library.live.current("cold", library.formulas, 60.0).day.date == market.dates[49]


def test_tables_of_a_day_fit_into_messages_and_a_day_of_too_many_names_has_none(library):
    day = library.live.current("m", library.formulas, 60.0).day
    assert all(len(table) < 900_000 for table in ValueTables().write(day))
    found = pl.concat([pl.read_ipc_stream(table) for table in ValueTables().write(day)], how="align")
    assert found.columns == ["date", "symbol", *day.ids]

    class Wide:
        ids, symbols = ("a",), ("x",) * 40_000

    assert ValueTables().write(Wide) == []


def test_results_before_any_calculation_say_what_to_do(library):
    with pytest.raises(UnknownFactor, match="calculate"):
        ask(library.factor_results, lb.FactorResults(symbol="A", model_id="plain"))


def test_correlations_are_the_means_of_those_of_the_ranks_of_each_day(library):
    ids = list(library.formulas.catalogue.categories()["alpha158"])[:4]
    answer = ask(library.factor_correlations, lb.FactorCorrelations(model_id="m", factors=ids, window_days=20))
    rows = answer.values["correlation"]
    version = library.slices.head("m")
    stacked, _ = window_values(library.formulas.under(None), ids, version, version.manifest.n_dates - 1, 20, 1)
    for i, name in enumerate(ids):
        for j, other in enumerate(ids):
            daily = []
            for a, b in zip(stacked[i], stacked[j], strict=True):
                both = np.isfinite(a) & np.isfinite(b)
                assert both.sum() > 20
                ranks = (rankdata(x, nan_policy="omit")[both] for x in (a, b))
                daily.append(pearsonr(*ranks).statistic)
            assert rows[i][other] == rows[j][name] == pytest.approx(np.mean(daily), abs=1e-12), (name, other)


def test_a_registered_formula_is_a_definition_also_after_a_restart(library):
    request = rq.EvaluateFormula(formula="rank(close) - rank(volume)", model_id="m", register_as="my_spread")
    ask(library.evaluate_formula, request)
    ask(library.evaluate_formula, request)
    body = ask(library.factor_category, rq.FactorCategory(category="registered", model_id="m")).body
    assert [d["id"] for d in body["definitions"]] == ["my_spread"]
    other = rq.EvaluateFormula(formula="rank(close)", model_id="m", register_as="my_spread")
    with pytest.raises(InvalidInput, match="another formula"):
        ask(library.evaluate_formula, other)
    again = started(FactorLibrary)
    assert list(again.formulas.registered) == ["my_spread"]


def test_a_registered_formula_stands_beside_the_catalogue_and_leaves_its_state(library, market):
    live = library.live.current("m", library.formulas, 60.0)
    request = rq.EvaluateFormula(formula="smb * (close - open)", model_id="m", register_as="uses_a_shared_name")
    answer = ask(library.evaluate_formula, request)
    symbol = next(iter(answer.values))
    mine = rq.CalculateFactors(symbol=symbol, model_id="m", factors=["uses_a_shared_name"])
    assert ask(library.calculate_factors, mine).values == {"uses_a_shared_name": answer.values[symbol]}
    assert library.live.current("m", library.formulas, 60.0) is live
    assert "uses_a_shared_name" in live.day.ids
    kept = started(FactorLibrary)
    assert "uses_a_shared_name" in kept.formulas.registered


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness belongs to a whole process")
def test_warming_steps_back_behind_requests(library):
    library.live.begin("m", library.formulas).result(120)
    behind = [thread for thread in threading.enumerate() if thread.name.startswith("library warm-up")]
    assert behind
    nice = {os.getpriority(os.PRIO_PROCESS, thread.native_id) for thread in behind}
    assert nice == {NICENESS}
    assert os.getpriority(os.PRIO_PROCESS, threading.main_thread().native_id) < NICENESS


@pytest.mark.parametrize("content", [b"{half", b"[1, 2]"])
def test_a_damaged_file_of_registered_formulas_is_named_and_the_catalogue_goes_on(writer, content):
    path = settings().store_path / "formulas.json"
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        actor = started(FactorLibrary)
        (row,) = actor.notes()["degraded"]
        assert (row["component"], row["file"]) == ("registered_formulas", "formulas.json")
        assert ask(actor.definitions, rq.Definitions()).body["loaded"] == len(whole_catalogue().entries)
        mine = rq.EvaluateFormula(model_id="m", formula="rank(close)", register_as="mine")
        with pytest.raises(Unavailable, match=r"formulas\.json"):
            ask(actor.evaluate_formula, mine)
        assert path.read_bytes() == content  # nothing is written over what a person may mend
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)


def test_a_registered_formula_can_be_removed_and_its_id_taken_by_another(library):
    ask(library.update_factors, rq.UpdateFactors(model_id="m"))
    first = rq.EvaluateFormula(model_id="m", formula="rank(close)", register_as="passing")
    ask(library.evaluate_formula, first)
    wanted = rq.FactorCrossSection(model_id="m", factors=["passing"])
    before = ask(library.factor_cross_section, wanted).values["passing"]["raw"]
    gone = ask(library.remove_formula, lb.RemoveFormula(formula_id="passing", request_id="r1"))
    assert gone.values == {"formula_id": "passing", "removed": True}
    assert ask(library.remove_formula, lb.RemoveFormula(formula_id="passing", request_id="r1")) == gone
    symbol = library.slices.head("m").symbols[0]
    for asked in (
        lambda: ask(library.factor_cross_section, wanted),
        lambda: ask(library.factor_results, lb.FactorResults(model_id="m", symbol=symbol, factors=["passing"])),
        lambda: ask(library.remove_formula, lb.RemoveFormula(formula_id="passing", request_id="r2")),
    ):
        with pytest.raises(UnknownFactor, match="passing"):
            asked()
    assert "passing" not in read_registered(library._place, library.formulas.catalogue)
    ask(library.evaluate_formula, first.model_copy(update={"formula": "-rank(close)"}))
    after = ask(library.factor_cross_section, wanted).values["passing"]["raw"]
    assert after == [None if value is None else -value for value in before]
    ask(library.remove_formula, lb.RemoveFormula(formula_id="passing"))


def test_a_factor_of_the_catalogue_cannot_be_removed(library):
    with pytest.raises(UnknownFactor, match="of the catalogue, which stays"):
        ask(library.remove_formula, lb.RemoveFormula(formula_id="barra_rstr"))
