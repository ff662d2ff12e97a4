"""A recompute gives what the engine gave online, to the bit, and makes nothing twice."""

import json
import math
import os

import numpy as np
import polars as pl
import pytest
from whole_catalogue import whole_catalogue

from actors.library.formulas import REGISTERED
from actors.library.values import window_values
from actors.portfolio.past import PastBooks
from actors.portfolio.reader import BookReader
from actors.reading.slices import Slices
from actors.reading.states import state_of
from bus.outbox import Outbox
from contracts.errors import DateOutsideModel, InvalidInput, UnknownFactor, UnknownModel, VersionConflict
from contracts.events import token
from contracts.requests import PortfolioAttribution
from contracts.results import CalculationResult
from contracts.settings import settings
from factors.errors import FactorError
from factors.factor_model.model import FactorModel
from factors.returns.date_tally import returns_told
from factors.sample.market import sample_market
from jobs import chains, pace, plan
from jobs import recompute as job
from jobs.parts import read_manifest, sha256_of
from jobs.progress import Progress
from jobs.told import progress_path
from jobs.work import WHAT, Work
from jobs.workers import Inline
from store import Holdings, ModelStore, Portfolio, PortfolioStore

DAYS = 150
IDS = ("mom_12_1", "reversal_1m")


@pytest.fixture(scope="module")
def panel():
    return sample_market(n_assets=40, n_days=DAYS + 1).panel


@pytest.fixture(scope="module")
def grown(panel):
    """A model as the days came: fitted on the first ones, and one step a day."""
    model = FactorModel().fit(panel.select(dates=slice(0, 100)))
    for day in range(100, DAYS):
        model.update(panel.select(dates=slice(day, day + 1)))
    return model


@pytest.fixture
def store(tmp_path, monkeypatch, grown):
    monkeypatch.setenv("FACTOR_ENGINE_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(pace, "EVERY_S", 0.0)
    monkeypatch.setattr(pace, "SHARE", math.inf)
    settings.cache_clear()
    plan.formulas_of.cache_clear()
    store = ModelStore(settings().store_path)
    store.commit("m", state_of(grown), base=0, request_id="first", operation="create_model")
    yield store
    settings.cache_clear()
    plan.formulas_of.cache_clear()


@pytest.fixture(scope="module")
def factors():
    """A few factors of each kind: windows, recursions, and one that reads the benchmark."""
    from actors.library.formulas import Formulas
    from factors.library.definitions.fields import computable, library_fields

    formulas = Formulas(whole_catalogue(), {})
    fields = library_fields(sample_market(n_assets=20, n_days=30).panel)
    ids, _ = computable(formulas.library, fields.available)
    library = formulas.library
    recursive = [name for name in ids if name in library.recursive][:2]
    market = [name for name in ids if "benchmark_close" in library.inputs[name] and library.lookback[name] < 80][:2]
    plain = [name for name in ids if name not in library.recursive and 5 < library.lookback[name] < 70][:3]
    assert len(recursive) == 2
    assert market
    return (*plain, *recursive, *market)


def made(work):
    progress = Progress()
    progress.of(work)
    return job.recompute(work, progress)


def frame(work, what):
    folder = work.folder(settings().store_path)
    names = [part["file"] for part in read_manifest(folder)["parts"] if part["what"].startswith(what)]
    return pl.concat([pl.read_parquet(folder / "parts" / name) for name in names])


def wide(frame, column, dates, symbols):
    out = np.full((len(dates), len(symbols)), np.nan)
    rows = np.searchsorted(dates, frame["date"].to_numpy().astype("datetime64[D]"))
    columns = [symbols.index(name) for name in frame["symbol"]]
    out[rows, columns] = frame[column].fill_null(np.nan).to_numpy()
    return out


def test_every_number_is_that_of_the_model_that_grew_day_by_day(store, grown):
    work = Work("m", what=("scores", "returns", "covariance", "specific"))
    made(work)
    dates, symbols = grown.dates_, list(grown.symbols_)
    there = np.isfinite(grown.panel_.fields["returns"]) | np.isfinite(grown.panel_.fields["market_cap"])
    scores = frame(work, "scores")
    assert scores.height == there.sum()
    for i, name in enumerate(grown.style_names_):
        wanted = np.where(there, grown.scores_[:, i], np.nan)
        np.testing.assert_array_equal(wide(scores, name, dates, symbols), wanted, err_msg=name)
    returns = frame(work, "returns")
    k = len(grown.factor_names_)
    assert returns["factor"].to_list()[:k] == list(grown.factor_names_)
    told = returns_told(grown.factor_returns_, grown.standard_errors_)
    for label, wanted in (("factor_return", told), ("standard_error", grown.standard_errors_)):
        np.testing.assert_array_equal(returns[label].fill_null(np.nan).to_numpy().reshape(-1, k), wanted)
    residuals = wide(frame(work, "specific"), "specific_return", dates, symbols)
    np.testing.assert_array_equal(residuals, np.where(there, grown.residuals_, np.nan))


def test_covariance_and_specific_risk_of_a_day_are_those_of_the_version_that_ended_with_it(store, panel):
    work = Work("m", what=("covariance", "specific"))
    made(work)
    covariance, specific = frame(work, "covariance"), frame(work, "specific")
    for last in (64, 65, DAYS):
        then = FactorModel().fit(panel.select(dates=slice(0, last)))
        day = then.dates_[-1].astype(object)
        values = covariance.filter(pl.col("date") == day)["covariance"].fill_null(np.nan).to_numpy()
        upper = np.triu_indices(len(then.factor_names_))
        np.testing.assert_array_equal(values, then.factor_covariance_[upper])
        rows = specific.filter(pl.col("date") == day)
        wanted = dict(zip(then.symbols_, then.specific_variance_.tolist(), strict=True))
        np.testing.assert_array_equal(
            rows["specific_variance"].fill_null(np.nan).to_numpy(), [wanted[name] for name in rows["symbol"]]
        )


def test_factors_of_the_library_are_those_that_the_actor_answers_with(store, factors):
    work = Work("m", start=str(store.head("m").date(70)), what=("library",), factors=factors)
    manifest = made(work)
    version = store.head("m")
    wanted, _ = window_values(plan.formulas_of(settings()), tuple(factors), version, DAYS - 1, DAYS - 70, 1)
    groups = manifest["groups"]
    assert sorted(name for ids in groups.values() for name in ids) == sorted(factors)
    for group, ids in groups.items():
        got = frame(work, group)
        assert got["date"].min() == version.date(70).astype(object)
        for name in ids:
            values = wide(got, name, version.dates[70:], list(version.symbols))
            np.testing.assert_array_equal(values, wanted[factors.index(name)], err_msg=name)


def test_attribution_of_a_stored_book_is_the_answer_that_the_engine_gives(store):
    symbols = store.head("m").symbols[:3]
    holdings = (Holdings(None, dict.fromkeys(symbols, 1 / 3)),)
    PortfolioStore(settings().store_path).put(Portfolio("tech", 1, "weights", holdings, ""), request_id="p")
    work = Work("m", what=("attribution",))
    made(work)
    rows = frame(work, "attribution")
    assert set(rows["portfolio_id"]) == {"market", "tech"}
    actor = PastBooks()
    actor.books = BookReader(Slices())
    for book in ("market", "tech"):
        for row in range(1, DAYS):
            day = store.head("m").date(row).astype(object)
            answer = actor.portfolio_attribution(
                PortfolioAttribution(model_id="m", portfolio_id=book, start_date=day, end_date=day)
            )
            found = rows.filter(pl.col("portfolio_id") == book, pl.col("date") == day)
            got = dict(zip(found["part"], found["contribution"], strict=True))
            assert got["total"] == answer.values["portfolio_return"]
            for name, value in answer.values["factor_contributions"].items():
                assert got[name] == value, (book, day, name)


def test_a_run_that_was_ended_goes_on_behind_what_it_made_and_gives_the_same_bytes(store, factors, tmp_path):
    here, there = (Work("m", factors=factors, out=str(tmp_path / name)) for name in ("here", "there"))
    whole = made(here)

    for blocks in (2, 1, 3):
        progress = Progress()
        progress.of(there)
        with pytest.raises(Ended):
            job.recompute(there, progress, EndedAfter(blocks))
        assert read_manifest(tmp_path / "there") is None, "nothing is committed by halves"
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "there" / "parts").glob("*.parquet")}
    assert parts
    again = made(there)
    assert again["parts"] == whole["parts"], "the same names, sizes and hashes"
    assert {path: path.stat().st_mtime_ns for path in parts} == parts, "what was there is not written again"
    for part in again["parts"]:
        assert sha256_of(tmp_path / "there" / "parts" / part["file"]) == part["sha256"]


def registered(text):
    plan.formulas_of.cache_clear()
    (settings().store_path / REGISTERED).write_text(json.dumps({"mine": text}))


class Ended(Exception):
    pass


class EndedAfter(Inline):
    """Ends a job behind so many blocks, as a kill does."""

    def __init__(self, blocks):
        self.left = blocks

    def run(self, function, arguments, look):
        def count():
            self.left -= 1
            if self.left == 0:
                raise Ended
            look()

        return super().run(function, arguments, count)


@pytest.mark.parametrize("first", [None, 130])
def test_a_formula_that_is_registered_anew_is_computed_anew_from_its_first_day(store, first):
    version = store.head("m")
    work = Work("m", start=first and str(version.date(first)), what=("library",), factors=("mine",))
    registered("ewm(returns, 0.01)")
    if first is None:
        made(work)
    else:  # what it carries is kept behind the first block, and no part is made
        with pytest.raises(Ended):
            job.recompute(work, Progress(), EndedAfter(2))
        assert len(list((work.folder(settings().store_path) / "states").iterdir())) == 1
    registered("ewm(returns, 0.02)")
    made(work)
    wanted, _ = window_values(plan.formulas_of(settings()), ("mine",), version, DAYS - 1, DAYS - (first or 0), 1)
    got = wide(frame(work, "library"), "mine", version.dates[first or 0 :], list(version.symbols))
    np.testing.assert_array_equal(got, wanted[0])


def test_a_formula_that_is_registered_anew_while_the_job_runs_ends_it(store):
    registered("ewm(returns, 0.01)")

    class Registering(Inline):
        def run(self, function, arguments, look):
            registered("ewm(returns, 0.02)")
            return super().run(function, arguments, look)

    work = Work("m", what=("library",), factors=("mine",))
    with pytest.raises(VersionConflict, match="registered anew or removed"):
        job.recompute(work, Progress(), Registering())
    assert read_manifest(work.folder(settings().store_path)) is None


def test_a_place_that_holds_the_results_of_another_work_is_refused(store, tmp_path, capsys):
    words = ["--model", "m", "--what", "returns", "--workers", "0", "--out"]
    assert job.main([*words, str(tmp_path / "mine")]) == 0
    before = read_manifest(tmp_path / "mine")
    with pytest.raises(InvalidInput, match=f"holds the results of {before['job_id']}") as told:
        made(Work("m", what=("scores",), out=str(tmp_path / "mine")))
    assert told.value.field == "out"
    assert read_manifest(tmp_path / "mine") == before
    assert job.main([*words, f"file://{tmp_path}/../{tmp_path.name}/mine"]) == 0, "the same work, the same place"
    assert read_manifest(tmp_path / "mine")["parts"] == before["parts"]
    (tmp_path / "mine" / "manifest.json").write_text("{")
    assert job.main([*words, str(tmp_path / "mine")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_processes_beside_this_one_make_the_same_bytes(store, factors, tmp_path):
    words = ["--model", "m", "--factors", ",".join(factors), "--out"]
    for name, workers in (("alone", "0"), ("beside", "2")):
        assert job.main([*words, str(tmp_path / name), "--workers", workers]) == 0
    assert read_manifest(tmp_path / "alone")["parts"] == read_manifest(tmp_path / "beside")["parts"]


def test_days_that_are_appended_make_only_the_last_block_anew(store, grown, panel):
    work = Work("m", what=("returns", "covariance"))
    before = {part["file"] for part in made(work)["parts"]}
    longer = FactorModel.from_state(None, grown.state()).update(panel.select(dates=slice(DAYS, DAYS + 1)))
    store.commit("m", state_of(longer), base=1, request_id="more", operation="append_day")
    after = made(work)
    names = {part["file"] for part in after["parts"]}
    assert after["end"] == str(panel.dates[DAYS])
    assert len(names - before) == 2, "the last block of each"


def returns_by(pool, model):
    """Recompute the factor returns; gives the version that was read, and [n_dates, n_factors]."""
    work = Work("m", what=("returns",))
    progress = Progress()
    progress.of(work)
    manifest = job.recompute(work, progress, pool)
    values = frame(work, "returns")["factor_return"].fill_null(np.nan).to_numpy()
    wanted = returns_told(model.factor_returns_, model.standard_errors_)
    np.testing.assert_array_equal(values.reshape(wanted.shape), wanted)
    return manifest["input"]["model_version"]


def test_a_correction_meanwhile_is_taken_before_anything_is_committed(store, grown, panel):
    returns = panel.fields["returns"][:DAYS].copy()
    returns[80, 0] += 0.01
    corrected = FactorModel().fit(panel.select(dates=slice(0, DAYS)).with_fields(returns=returns))

    class Correcting(Inline):
        done = False

        def run(self, function, arguments, look):
            took = super().run(function, arguments, look)
            if not self.done:
                self.done = True
                store.commit("m", state_of(corrected), base=1, request_id="fix", operation="correct_days")
            return took

    assert returns_by(Correcting(), corrected) == 2


def test_a_version_that_is_retired_while_it_is_read_is_a_change_like_others(store, grown):
    class Retiring(Inline):
        done = False

        def run(self, function, arguments, look):
            if not self.done:
                self.done = True
                few = ModelStore(settings().store_path, keep_versions=1)
                for n in (1, 2, 3):
                    few.commit("m", state_of(grown), base=n, request_id=f"r{n}", operation="clean_features")
            return super().run(function, arguments, look)

    assert returns_by(Retiring(), grown) == 4


def test_what_killed_runs_had_begun_to_write_goes_once_it_is_old(store):
    work = Work("m", what=("returns",))
    folder = work.folder(settings().store_path)
    left = [folder / room / f".x.{age}.tmp" for room in ("parts", "states") for age in ("old", "young")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        if ".old." in path.name:
            os.utime(path, (0, 0))
    made(work)
    assert [path.name for path in left if path.exists()] == [".x.young.tmp"] * 2


def test_a_history_that_changes_every_time_ends_the_job(store, monkeypatch):
    monkeypatch.setattr(job, "_unchanged", lambda *_: False)
    with pytest.raises(VersionConflict, match="changed 5 times"):
        made(Work("m", what=("returns",)))
    assert read_manifest(Work("m", what=("returns",)).folder(settings().store_path)) is None


@pytest.mark.parametrize("kind", ["file", "folder", "csv"])
def test_a_table_is_read_as_it_lies_and_gives_what_the_model_of_it_gives(store, panel, tmp_path, kind):
    table = panel.select(dates=slice(0, DAYS)).to_frame()
    if kind == "file":
        uri = tmp_path / "t.parquet"
        table.write_parquet(uri)
    elif kind == "csv":
        uri = tmp_path / "t.csv"
        table.write_csv(uri)
    else:
        uri = tmp_path / "lake"
        for (year, month), rows in table.group_by(
            pl.col("date").dt.year().alias("y"), pl.col("date").dt.month().alias("m")
        ):
            (uri / f"year={year}" / f"month={month}").mkdir(parents=True)
            rows.write_parquet(uri / f"year={year}" / f"month={month}" / "0.parquet")
    work = Work("m", what=("returns", "scores"), data=str(uri))
    made(work)
    wanted = FactorModel().fit(table)
    k = len(wanted.factor_names_)
    got = frame(work, "returns")["factor_return"].fill_null(np.nan).to_numpy().reshape(-1, k)
    np.testing.assert_array_equal(got, returns_told(wanted.factor_returns_, wanted.standard_errors_))


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"model_id": "nobody"}, UnknownModel, "nobody"),
        ({"start": "1990-01-01"}, DateOutsideModel, "1990-01-01"),
        ({"end": "2090-01-01"}, DateOutsideModel, "2090-01-01"),
        ({"factors": ("no_such_factor",)}, UnknownFactor, "no_such_factor"),
        ({"settings": {"no_such_setting": 1}}, FactorError, "no_such_setting"),
        ({"data": "/nowhere/at/all.parquet"}, InvalidInput, "/nowhere/at/all.parquet"),
    ],
)
def test_bad_work_is_named_and_commits_nothing(store, changes, error, says):
    work = Work(**{"model_id": "m", **changes})
    with pytest.raises(error, match=says):
        made(work)
    assert read_manifest(work.folder(settings().store_path)) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"what": ("scores", "prices")}, "what"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, "end"),
        ({"out": "http://bucket/prefix"}, "out"),
    ],
)
def test_what_can_be_seen_without_data_is_refused_at_once(changes, field):
    with pytest.raises(InvalidInput) as told:
        Work("m", **changes)
    assert told.value.field == field


def test_a_table_without_a_column_and_a_truncated_one_are_named(store, panel, tmp_path):
    table = panel.select(dates=slice(0, 70)).to_frame()
    table.drop("market_cap").write_parquet(tmp_path / "lacking.parquet")
    with pytest.raises(InvalidInput, match="market_cap"):
        made(Work("m", what=("returns",), data=str(tmp_path / "lacking.parquet")))
    table.write_parquet(tmp_path / "whole.parquet")
    half = (tmp_path / "whole.parquet").read_bytes()[:2000]
    (tmp_path / "cut.parquet").write_bytes(half)
    with pytest.raises(InvalidInput, match=r"cut\.parquet"):
        made(Work("m", what=("returns",), data=str(tmp_path / "cut.parquet")))


def test_groups_of_many_names_are_smaller_so_that_a_block_of_one_fits_into_memory():
    assert [plan.group_factors(n) for n in (20, 500, 10_000, 60_000, 10**9)] == [96, 96, 96, 17, 1]
    for n in (20_000, 60_000):
        assert plan.group_factors(n) * n * 64 * 8 <= plan.GROUP_BYTES


def test_a_node_with_another_version_of_the_engine_refuses_to_compute(store, monkeypatch):
    monkeypatch.setattr(chains, "engine_digest", lambda: "another")
    with pytest.raises(InvalidInput, match="another"):
        made(Work("m", what=("returns",)))


def test_a_full_disk_ends_the_job_and_leaves_no_half_part(store, monkeypatch, tmp_path):
    work = Work("m", what=("returns",), out=str(tmp_path / "full"))

    def refuse(self, file, **_options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", refuse)
    with pytest.raises(OSError, match="No space"):
        made(work)
    assert list((tmp_path / "full" / "parts").iterdir()) == []
    assert read_manifest(tmp_path / "full") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(store, tmp_path, capsys):
    (tmp_path / "kept").mkdir(mode=0o500)
    assert job.main(["--model", "m", "--what", "returns", "--out", str(tmp_path / "kept" / "x"), "--workers", "0"]) == 1
    assert "kept" in capsys.readouterr().err


def test_the_command_tells_how_far_it_is_and_ends_with_a_table(store, capsys):
    assert job.main(["--model", "m", "--what", "returns,scores", "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert "100.0 %" in said
    assert "nulls" in said
    work = Work("m", what=("returns", "scores"))
    told = json.loads(progress_path(settings().store_path, work.job_id).read_bytes())
    assert (told["state"], told["percent"], told["parts"]) == ("done", 100.0, 6)
    assert told["table"]["scores"]["rows"] > 0


def test_peers_are_told_how_far_it_is_in_the_form_of_every_result(store):
    assert job.main(["--model", "m", "--what", "returns", "--workers", "0"]) == 0
    outbox = Outbox.of(settings())
    events = [stored.event for stored in outbox.read(0, 100)]
    outbox.close()
    job_id = Work("m", what=("returns",)).job_id
    assert {event.subject for event in events} == {f"factor.batch.{token(job_id)}"}
    data = [json.loads(event.data) for event in events]
    for one in data:
        CalculationResult.model_validate(one)
    assert [one["factor_values"]["stage"] for one in data] == ["planning", "computing", "committing", "done"]
    assert data[-1]["factor_values"]["percent"] == 100.0


def test_an_outbox_that_cannot_be_opened_keeps_no_job_from_its_results(store, capsys):
    (settings().run_dir / "outbox").write_text("a file in the way")
    assert job.main(["--model", "m", "--what", "returns", "--workers", "0"]) == 0
    assert "peers are not told of the job: " in capsys.readouterr().out
    assert read_manifest(Work("m", what=("returns",)).folder(settings().store_path))["parts"]


def test_the_command_fails_with_the_reason_and_the_field(store, capsys):
    assert job.main(["--model", "m", "--start", "1990-01-01", "--workers", "0"]) == 1
    assert "1990-01-01 is outside" in capsys.readouterr().err


def test_the_same_work_has_the_same_id_and_its_words_mean_it():
    work = Work("m", start="2020-01-01", what=("returns", "scores"), factors=("a", "b"), settings={"x": {"y": 1}})
    same = job.work_of(job.parser().parse_args(work.arguments()))
    assert same.job_id == work.job_id
    assert Work("m").job_id != Work("m", end="2020-01-01").job_id
    assert Work("m", what=WHAT[::-1]).job_id == Work("m").job_id
