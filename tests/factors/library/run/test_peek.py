"""A peek is the update that has not happened: its values to the bit, and nothing left behind."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamed import FORMULAS, listing, rows, same
from whole_catalogue import whole_catalogue

from factors.library import FieldsError, compile_library
from factors.library.run.machine import Machine

ONE_DAY = np.timedelta64(1, "D")
SHARED = ("benchmark_return", "benchmark_close", "benchmark_open")


@pytest.fixture(scope="module")
def library():
    return compile_library(FORMULAS)


@pytest.fixture(scope="module")
def everything():
    return compile_library(whole_catalogue().entries)


def state_of(stream):
    return {name: value.copy() for name, value in stream.state().items()}


def assert_same_state(stream, before):
    after = stream.state()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)


def ticked(rng, fields, groups, columns):
    """The row with some names moved, gone or back."""
    fields = {name: np.array(values, dtype=float) for name, values in fields.items()}
    groups = {name: np.array(codes) for name, codes in groups.items()}
    for name, values in fields.items():
        if name not in SHARED:
            values[columns] *= np.exp(rng.standard_normal(len(columns)) * 0.03)
            gone = columns[rng.random(len(columns)) < 0.2]
            values[gone] = np.nan
    for name in SHARED:
        fields[name] = fields[name] * np.exp(rng.standard_normal() * 0.01)
    for codes in groups.values():
        codes[columns[:1]] = -1 if rng.random() < 0.3 else codes[columns[:1]]
    return fields, groups


def assert_peeks_foretell(library, panel, rng, listed=None, peeked_from=0, some=1.0):
    """Peek at whole rows and at changes of them, then update with the last; a twin that never peeks agrees."""
    n_dates, n_assets = panel.fields["close"].shape
    n = n_assets if listed is None else int((listed <= 0).sum())
    stream, twin = library.stream(n), library.stream(n)
    for t in range(n_dates):
        if listed is not None:
            n = max(n, int((listed <= t).sum()))
            stream.grow(n, SHARED)
            twin.grow(n, SHARED)
        fields, groups, day = rows(panel, t, slice(0, n))
        if t >= peeked_from and rng.random() < some:
            before = state_of(stream)
            now = ticked(rng, fields, groups, np.arange(n))
            stream.peek(*now, day + rng.integers(0, 45))
            stream.peek(*now, day)
            for _ in range(int(rng.integers(1, 4))):
                columns = np.sort(rng.choice(n, int(rng.integers(0, n + 1)), replace=False))
                now = ticked(rng, *now, columns)
                found = stream.peek(*now, day, changed=columns).copy()
                again = stream.peek(*now, day).copy()
                np.testing.assert_array_equal(found, again)
            assert_same_state(stream, before)
            foretold = stream.peek(fields, groups, day, changed=np.arange(n)).copy()
            if rng.random() < 0.3:  # then the row that comes is not the one of the last peek
                stream.peek(*now, day)
            elif rng.random() < 0.3:
                stream.peek(fields, groups, day + ONE_DAY)
            result = stream.update(fields, groups, day)
            np.testing.assert_array_equal(foretold, result)
        else:
            result = stream.update(fields, groups, day)
        expected = twin.update(fields, groups, day)
        for k, name in enumerate(library.ids):
            np.testing.assert_array_equal(result[k], expected[k], err_msg=f"{name} at row {t}")
    assert_same_state(stream, state_of(twin))


@pytest.mark.parametrize("seed", range(4))
def test_any_peeks_and_then_an_update_are_the_update(library, panel_of, seed):
    assert_peeks_foretell(library, panel_of(130, 9, seed=seed), np.random.default_rng(seed))


def test_peeks_stay_true_when_names_leave(library, panel_of):
    panel = panel_of(150, 9, seed=11)
    for j, last in ((4, 60), (5, 90), (7, 121)):
        for name, values in panel.fields.items():
            if name not in SHARED:
                values[last:, j] = np.nan
        for codes in panel.groups.values():
            codes[last:, j] = -1
    assert_peeks_foretell(library, panel, np.random.default_rng(8))


def test_peeks_stay_true_over_holidays_and_ends_of_blocks(library, panel_of):
    panel = panel_of(150, 9, seed=3)
    gaps = np.random.default_rng(1).choice([1, 1, 1, 2, 40, 95], 150)
    panel.dates = np.datetime64("2015-03-05") + np.cumsum(gaps)
    assert_peeks_foretell(library, panel, np.random.default_rng(2))


def test_peeks_stay_true_while_names_join(library, panel_of):
    rng = np.random.default_rng(4)
    listed = np.sort(rng.integers(-30, 75, 12)).clip(0)
    listed[0] = 0  # a stream begins with somebody
    panel = listing(panel_of(100, 12, seed=4, dirty=False), listed, SHARED)
    assert_peeks_foretell(library, panel, rng, listed)


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1000))
def test_the_whole_catalogue_peeks_as_it_updates(everything, panel_of, seed):
    assert_peeks_foretell(
        everything, panel_of(90, 12, seed=seed), np.random.default_rng(seed), peeked_from=20, some=0.4
    )


@settings(max_examples=1, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1000))
def test_the_whole_catalogue_peeks_as_it_updates_while_names_join(everything, panel_of, seed):
    rng = np.random.default_rng(seed)
    listed = np.sort(rng.integers(-30, 75, 12)).clip(0)
    listed[0] = 0  # a stream begins with somebody
    panel = listing(panel_of(90, 12, seed=seed, dirty=False), listed, SHARED)
    assert_peeks_foretell(everything, panel, rng, listed, peeked_from=30, some=0.4)


def assert_same_from_here(library, panel, stream, twin, t):
    assert_same_state(stream, state_of(twin))
    for later in range(t, len(panel.dates)):
        same(stream.peek(*rows(panel, later)), twin.peek(*rows(panel, later)))
        same(stream.update(*rows(panel, later)), twin.update(*rows(panel, later)))
    assert_same_state(stream, state_of(twin))


@pytest.mark.parametrize("which", ["library", "everything"])
def test_an_update_with_the_row_of_the_last_peek_computes_nothing_anew(which, request, panel_of, monkeypatch):
    library = request.getfixturevalue(which)
    panel = panel_of(150, 9, seed=5)
    stream, twin = library.stream(9), library.stream(9)
    t = 0
    for t in range(140):
        expected = twin.update(*rows(panel, t))
        if t < 30 or (which == "everything" and t % 3):
            stream.update(*rows(panel, t))
            continue
        stream.peek(*rows(panel, t))
        with monkeypatch.context() as patch:
            patch.setattr(Machine, "load", None)  # the way of a row that is computed
            same(stream.update(*rows(panel, t)), expected)
            with pytest.raises(TypeError):
                stream.update(*rows(panel, t + 1))
    assert_same_from_here(library, panel, stream, twin, t + 1)


@pytest.mark.parametrize("other", ["value", "gone", "group", "date", "sign"])
def test_an_update_with_another_row_than_the_last_peeks_is_computed(library, panel_of, other):
    panel = panel_of(90, 9, seed=5)
    stream, twin = library.stream(9), library.stream(9)
    for t in range(80):
        stream.update(*rows(panel, t))
        twin.update(*rows(panel, t))
    fields, groups, day = rows(panel, 80)
    fields = {**fields, "returns": np.zeros(9)}
    seen = {name: np.array(values) for name, values in fields.items()}
    coded = {name: np.array(codes) for name, codes in groups.items()}
    if other == "value":
        seen["close"][3] = np.nextafter(seen["close"][3], np.inf)
    elif other == "gone":
        seen["volume"][8] = np.nan
    elif other == "sign":
        seen["returns"][2] = -0.0
    elif other == "group":
        coded["industry"][1] = -1
    stream.peek(seen, coded, day + ONE_DAY if other == "date" else day)
    same(stream.update(fields, groups, day), twin.update(fields, groups, day))
    assert_same_from_here(library, panel, stream, twin, 81)


def test_many_threads_peek_as_one(library, panel_of):
    panel = panel_of(90, 9, seed=6)
    one, three = library.stream(9), library.stream(9, threads=3)
    for t in range(90):
        row = rows(panel, t)
        if t > 60:
            same(three.peek(*row), one.peek(*row))
        same(three.update(*row), one.update(*row))
    three.close()


def test_a_bad_row_or_column_is_refused_and_the_next_peek_is_whole(library, panel_of):
    panel = panel_of(80, 9, seed=7)
    stream = library.stream(9)
    for t in range(70):
        stream.update(*rows(panel, t))
    fields, groups, day = rows(panel, 70)
    before = state_of(stream)
    expected = stream.peek(fields, groups, day).copy()
    with pytest.raises(FieldsError, match="close"):
        stream.peek({k: v for k, v in fields.items() if k != "close"}, groups, day)
    with pytest.raises(FieldsError, match="volume"):
        stream.peek({**fields, "volume": fields["volume"][:4]}, groups, day)
    with pytest.raises(FieldsError, match="dates must increase"):
        stream.peek(fields, groups, panel.dates[69])
    with pytest.raises(FieldsError, match="column"):
        stream.peek(fields, groups, day, changed=np.array([3, 9]))
    with pytest.raises(FieldsError, match="column"):
        stream.peek(fields, groups, day, changed=np.array([-1]))
    same(stream.peek(fields, groups, day, changed=np.array([2])), expected)
    assert_same_state(stream, before)
    same(stream.update(fields, groups, day), expected)


def test_the_first_row_can_be_peeked_at(library, panel_of):
    panel = panel_of(3, 9)
    stream = library.stream(9)
    found = stream.peek(*rows(panel, 0)).copy()
    same(found, stream.update(*rows(panel, 0)))


def test_what_a_peek_gives_is_not_to_be_written_to(library, panel_of):
    stream = library.stream(9)
    with pytest.raises(ValueError, match="read-only"):
        stream.peek(*rows(panel_of(3, 9), 0))[:] = 0.0
