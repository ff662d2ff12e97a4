"""Looking around in the library: which factors are alike, and the table of the language."""

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata
from whole_catalogue import whole_catalogue

from actors.library.explorer import Explorer
from actors.library.formulas import Formulas
from actors.library.values import window_values
from actors.reading.slices import Slices
from actors.reading.states import state_of
from contracts import library_requests as lr
from contracts.errors import InvalidInput, UnknownFactor
from contracts.settings import settings
from factors import FactorModel, sample_market
from factors.library import parse
from factors.library.definitions.fields import computable, library_fields
from factors.library.language.operators import BY_NAME
from factors.panel.panel import Panel
from store import ModelStore

ONE = "alpha101_101"
WINDOW = 10


class Reader(Explorer):
    """The methods without an actor around them."""

    def __init__(self):
        self.slices = Slices()
        self.formulas = Formulas(whole_catalogue(), {})
        self.settings = settings()
        self.open_explorer()


@pytest.fixture(scope="module")
def market():
    return sample_market(n_assets=40, n_days=90).panel


@pytest.fixture(scope="module")
def reader(market, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR_ENGINE_STORE_DIR", str(tmp_path_factory.mktemp("store")))
    settings.cache_clear()
    few = ("returns", "market_cap", "close")
    plain = Panel(market.dates, market.symbols, {name: market.fields[name] for name in few}, market.categories)
    store = ModelStore(settings().store_path)
    for name, panel in (("m", market), ("plain", plain)):
        store.commit(name, state_of(FactorModel().fit(panel)), base=0, request_id=name, operation="create_model")
    yield Reader()
    patch.undo()
    settings.cache_clear()


def test_neighbours_are_those_of_all_the_library_that_rank_the_names_most_alike(reader, market):
    request = lr.FactorNeighbours(model_id="m", factor=ONE, window_days=WINDOW, most=700)
    answer = reader.factor_neighbours(request)
    found, told = answer.values, answer.details
    able, _ = computable(reader.formulas.library, library_fields(market).available)
    assert ONE not in found
    assert told["compared"] + told["not_comparable"] == len(able) - 1
    assert told["compared"] == len(found) > 300
    sizes = [abs(value) for value in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert len({reader.formulas.catalogue.entries[name].category for name in list(found)[:20]}) > 1
    version = reader.slices.head("m")
    others = [*list(found)[:3], *list(found)[-3:]]
    stacked, _ = window_values(reader.formulas, (ONE, *others), version, len(version.dates) - 1, WINDOW, 1)
    for name, rows in zip(others, stacked[1:], strict=True):
        daily = []
        for a, b in zip(stacked[0], rows, strict=True):
            both = np.isfinite(a) & np.isfinite(b)
            ranks = [rankdata(x, nan_policy="omit")[both] for x in (a, b)]
            if both.sum() >= told["least_names"] and min(r.std() for r in ranks) > 0:
                daily.append(pearsonr(*ranks).statistic)
        assert found[name] == pytest.approx(np.mean(daily), abs=1e-6), name


def test_what_was_compared_is_kept_until_a_version_or_a_formula_changes(reader):
    request = lr.FactorNeighbours(model_id="m", factor=ONE, window_days=3, most=3)
    first = reader.factor_neighbours(request)
    hits, nearest = reader._compared.hits, next(iter(first.values))
    back = reader.factor_neighbours(request.model_copy(update={"factor": nearest, "most": 700}))
    assert reader._compared.hits == hits + 1
    assert back.values[ONE] == first.values[nearest]
    before = reader.formulas
    reader.formulas = Formulas(before.catalogue, {"mine": parse("(open - close) / (high - low + 0.001)")})
    try:
        assert reader.factor_neighbours(request).values["mine"] == pytest.approx(-1.0)
    finally:
        reader.formulas = before


def test_windows_that_speak_early_have_neighbours_where_that_is_asked(reader):
    request = lr.FactorNeighbours(
        model_id="m", factor="alpha158_ma60", window_days=3, most=3, date_requested="2019-01-29"
    )
    row = reader.slices.head("m").dates.tolist().index(request.date_requested)
    assert 3 < row < 59
    assert reader.factor_neighbours(request).values == {}
    early = reader.factor_neighbours(request.model_copy(update={"min_periods": "one"}))
    assert len(early.values) == 3
    assert reader.factor_neighbours(request).values == {}


def test_what_the_data_cannot_compute_has_no_neighbours_and_the_reason_is_told(reader):
    with pytest.raises(InvalidInput, match="alpha101_101 needs") as told:
        reader.factor_neighbours(lr.FactorNeighbours(model_id="plain", factor="alpha101_101"))
    assert told.value.field == "factor"
    with pytest.raises(UnknownFactor, match="nonsense"):
        reader.factor_neighbours(lr.FactorNeighbours(model_id="m", factor="nonsense"))


def test_the_table_of_the_language_has_every_word_that_a_formula_may_use(reader):
    told = reader.formula_language(lr.FormulaLanguage(model_id="plain")).body
    assert {name for one in told["operators"] for name in (one["name"], *one["aliases"])} == set(BY_NAME)
    (mean,) = (one for one in told["operators"] if one["name"] == "mean")
    assert (mean["signature"], mean["settings"]) == ("mean(x, d)", ["min_periods"])
    assert [(p["name"], p["kind"], p["least"]) for p in mean["parameters"]] == [
        ("x", "panel", None),
        ("d", "integer", 1),
    ]
    kinds = set()
    for one in told["names"]:
        kinds.add(one["kind"])
        name = one["name"]
        pattern = "group_mean(close, {})" if one["kind"] == "group" else "close + {}"
        pattern = "where({}, close, open)" if name in ("true", "false") else pattern
        parse(pattern.format(name), definitions=reader.formulas.catalogue.definitions)
    assert kinds == {"field", "group", "derived", "constant", "shared"}


def test_the_table_says_which_fields_a_model_has_and_nothing_of_none(reader):
    def has(**of):
        told = reader.formula_language(lr.FormulaLanguage(**of)).body
        return {row["name"]: row["available"] for row in told["names"]}

    wanted = {"close": True, "cap": True, "shares": True, "sales": False, "sector": True, "country": False, "pi": None}
    assert {name: has(model_id="plain")[name] for name in wanted} == wanted
    assert set(has().values()) == {None}
