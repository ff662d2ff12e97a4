"""Every device's kernels say the same as those of the CPU, within the error bounds that they state."""

import gc
import inspect
import itertools
import weakref
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.work import Device
from devices import cpu, kernels, metal, neural_engine
from devices.kernels import KERNELS
from devices.prepare import BLOCK, unit, up_to_bucket
from factors.errors import NonFiniteError
from tests.devices.bounds import MODULES, needs, within_bounds

GPU, NE = Device.METAL_GPU, Device.NEURAL_ENGINE
SIZES = {
    "exposures": [(1, 3, 2), (4, 300, 15), (33, 129, 40), (2, 3000, 40)],
    "book_risk": [(1, 3, 2), (4, 300, 15), (7, 1000, 40)],
    "revalue": [(1, 5, 2), (10, 1000, 40), (3, 257, 130)],
    "grams": [(1, 4, 2), (3, 200, 12), (5, 500, 30)],
    "covariances": [(1, 5, 2), (4, 252, 15), (9, 600, 20)],
    "standardize": [(1, 4), (3, 127), (5, 128), (2, 3000)],
    "network": [(1, 3, 4, 2), (50, 12, 32, 3), (33, 20, 16, 1)],
}
CASES = [(name, sizes) for name, each in SIZES.items() for sizes in each]


@pytest.fixture(autouse=True)
def programs_are_evaluated(monkeypatch):
    """Core ML predicts on a Mac only; its own value inference computes the same program anywhere."""
    monkeypatch.setattr(neural_engine, "_run", neural_engine.evaluate)


def functions(module):
    own = {
        name for name, found in inspect.getmembers(module, inspect.isfunction) if found.__module__ == module.__name__
    }
    source = inspect.getsource(module)
    return sorted((name for name in own if name in KERNELS), key=lambda name: source.index(f"def {name}("))


def test_every_device_has_the_same_kernels_in_the_same_order():
    assert functions(cpu) == functions(metal) == functions(neural_engine) == list(KERNELS)


@pytest.mark.parametrize("device", [GPU, NE])
@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_a_kernel_stays_within_its_stated_bound(device, name, sizes):
    needs(device)
    within_bounds(device, name, KERNELS[name].sample(sizes, np.random.default_rng(1)))


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_the_programs_of_the_neural_engine_are_right_to_the_digits_of_float32(name, sizes, monkeypatch):
    """A fault of a thousandth would hide behind float16's rounding. The bound is that of a device with float32."""
    needs(NE)
    monkeypatch.setattr(neural_engine, "_run", partial(neural_engine.evaluate, dtype=np.float32))
    within_bounds(NE, name, KERNELS[name].sample(sizes, np.random.default_rng(1)), bound_of=GPU)


@pytest.mark.parametrize(("name", "sizes"), CASES)
def test_sizes_are_read_off_the_arguments(name, sizes):
    arguments = KERNELS[name].sample(sizes, np.random.default_rng(0))
    found = KERNELS[name].sizes(*arguments)
    assert found == sizes or name == "network"
    assert len(found) == len(KERNELS[name].names)
    assert KERNELS[name].work(*found) > 0
    assert KERNELS[name].moved(*found) > 0


def test_bounds_grow_with_the_size_but_for_the_blocks_of_the_neural_engine():
    for n in (10, 100, 1000, 10_000):
        assert kernels.sum_bound(Device.CPU, n) < kernels.sum_bound(GPU, n) < kernels.sum_bound(NE, n)
    assert kernels.sum_bound(GPU, 10_000) > 9 * kernels.sum_bound(GPU, 1000)
    assert kernels.sum_bound(NE, 10_000) < 1.001 * kernels.sum_bound(NE, BLOCK)


@pytest.mark.parametrize(("name", "sizes"), [("exposures", (40, 3000, 40)), ("book_risk", (16, 3000, 40))])
def test_float32_stays_within_the_tolerance_of_a_books_operations_for_any_number_of_names(name, sizes):
    """Else the GPU would be no candidate: sums of 3,000 products without blocks err by more."""
    needs(GPU)
    for seed in range(5):
        given_ = KERNELS[name].sample(sizes, np.random.default_rng(seed))
        error = kernels.relative_error(getattr(metal, name)(*given_), getattr(cpu, name)(*given_))
        assert error < 0.8e-6, "the operations allow 1e-6"
    for n in (200, 3000, 100_000):
        assert kernels.blocks_bound(GPU, n) < 1e-5
        assert kernels.blocks_bound(NE, n) == kernels.sum_bound(NE, n)
        assert kernels.blocks_bound(Device.CPU, n) == kernels.sum_bound(Device.CPU, n)


numbers = st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6) | st.just(0.0)


@pytest.mark.parametrize("device", [GPU, NE])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_products_of_any_numbers_stay_within_the_bound(device, data):
    needs(device)
    p, n, k = (data.draw(st.integers(1, most)) for most in (4, 150, 5))
    drawn = np.array(data.draw(st.lists(numbers, min_size=p + n + k, max_size=p + n + k)))
    rng = np.random.default_rng(p * 1000 + n)
    # magnitudes of any size by row and by column, so that scaling has something to do
    weights = rng.standard_normal((p, n)) * drawn[:p, None]
    X = rng.standard_normal((n, k)) * 10.0 ** rng.integers(-3, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_engine, "_run", neural_engine.evaluate)
        within_bounds(device, "exposures", (weights, X))
        within_bounds(device, "revalue", (weights[:, : X.shape[0]], rng.standard_normal((6, n)) * 1e-3))


@pytest.mark.parametrize("device", [GPU, NE])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.sampled_from([0.0, 1.0, 1e9]), size=st.sampled_from([1e-6, 1.0, 1e8]))
def test_masked_scores_stay_within_the_bound(device, seed, level, size):
    needs(device)
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((3, 140)) * size + level * size
    known = rng.random((3, 140)) < 0.7
    known[1] = False
    known[2] = False
    known[2, 5] = True
    values[~known] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_engine, "_run", neural_engine.evaluate)
        within_bounds(device, "standardize", (values, known, 2.5))


@pytest.mark.parametrize("device", [Device.CPU, GPU, NE])
def test_a_weight_without_exposures_is_an_error_and_not_a_zero(device):
    needs(device)
    module = {Device.CPU: cpu, **MODULES}[device]
    weights, X = np.array([[0.5, 0.5, 0.0]]), np.ones((3, 2))
    X[2] = np.nan
    np.testing.assert_allclose(module.exposures(weights, X), 1.0, rtol=1e-3)
    X[1] = np.nan
    with pytest.raises(NonFiniteError, match="1 assets that have weight, the first at 1"):
        module.exposures(weights, X)
    with pytest.raises(NonFiniteError):
        module.book_risk(weights, X, np.eye(2))


@pytest.mark.parametrize("device", [GPU, NE])
def test_float16_does_not_overflow_where_the_result_is_far_beyond_it(device):
    needs(device)
    weights, X = np.full((2, 3000), 1e5), np.full((3000, 3), 1e3)
    result = MODULES[device].exposures(weights, X)
    np.testing.assert_allclose(result, 3e11, rtol=1e-3)


def test_a_network_that_may_overflow_float16_is_refused_beforehand():
    pytest.importorskip("coremltools")
    with pytest.raises(neural_engine.OutOfRangeError, match="layer 1 may reach 500000"):
        neural_engine.network(np.full((1, 5), 1e3), "i", np.full((5, 1), 1e2), np.zeros(1))


@pytest.mark.parametrize("device", [GPU, NE])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    activations=st.text("rtsi", min_size=1, max_size=5),
    size=st.sampled_from([1e-4, 1.0, 30.0]),
)
def test_networks_of_any_activations_stay_within_the_bound(device, seed, activations, size):
    needs(device)
    rng = np.random.default_rng(seed)
    wide = [int(n) for n in rng.integers(1, 40, len(activations) + 1)]
    layers = []
    for n_in, n_out in itertools.pairwise(wide):
        layers += [rng.standard_normal((n_in, n_out)) / np.sqrt(n_in), rng.standard_normal(n_out) * 0.1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_engine, "_run", neural_engine.evaluate)
        try:
            within_bounds(device, "network", (rng.standard_normal((17, wide[0])) * size, activations, *layers))
        except neural_engine.OutOfRangeError:
            assert size >= 1.0  # the CPU computes it; five layers of the widest may pass float16 from there on


def test_a_network_is_that_of_the_definition():
    rng = np.random.default_rng(6)
    x, W, b, V, c, U, d = (rng.standard_normal(shape) for shape in ((9, 4), (4, 3), 3, (3, 5), 5, (5, 1), 1))
    hidden = 1.0 / (1.0 + np.exp(-(np.tanh(x @ W + b) @ V + c)))
    np.testing.assert_allclose(cpu.network(x, "tsr", W, b, V, c, U, d), np.maximum(hidden @ U + d, 0.0), rtol=1e-12)
    np.testing.assert_allclose(cpu.network(x, "i", W, b), x @ W + b, rtol=1e-12)
    np.testing.assert_array_equal(cpu.network(np.array([[-800.0, 800.0]]), "s", np.eye(2), np.zeros(2)), [[0.0, 1.0]])


BODIES = (
    ("product", ((2, 3, 128), (2, 128, 4)), ()),
    ("standardize", ((4, 2, 128), (4, 1, 1), (1, 1, 1)), ()),
    ("network rtsi", ((8, 3),), (np.ones((3, 3)), np.ones(3)) * 4),
)


@pytest.mark.parametrize(("body", "shapes", "constants"), BODIES, ids=[body for body, *_ in BODIES])
def test_every_operation_of_a_program_can_be_evaluated_here(body, shapes, constants):
    """What Linux shows of the Neural Engine is value inference: an operation without it would be unseen."""
    pytest.importorskip("coremltools")
    from coremltools.converters.mil.mil import Operation

    assert {name for name, *_ in BODIES if " " not in name} == set(neural_engine.BODIES)
    program = neural_engine.program(body, shapes, neural_engine._Constants(constants) if constants else None)
    operations = [op for function in program._mil_program.functions.values() for op in function.operations]
    assert len(operations) > 1
    for op in operations:
        assert type(op).value_inference is not Operation.value_inference, op.op_type
    # And it is Core ML's, not a stand-in of ours: the kernels of the tests above give no None.
    (made,) = neural_engine.evaluate(body, *(np.ones(shape) for shape in shapes), constants=constants)
    assert np.isfinite(made).all()


def test_book_risk_is_that_of_the_library():
    from factors.portfolio.risk import portfolio_risk

    weights, X, F = KERNELS["book_risk"].sample((4, 60, 5), np.random.default_rng(2))
    variance = np.random.default_rng(3).uniform(1e-4, 1e-3, 60)
    right = portfolio_risk(weights, X, F, variance)
    exposures, gradient = cpu.book_risk(weights, X, F)
    np.testing.assert_array_equal(exposures, right.exposures)
    np.testing.assert_allclose((gradient + weights * variance) / right.total[:, None], right.marginal, rtol=1e-13)
    again = portfolio_risk(weights, X, F, variance, products=(exposures, gradient))
    for name in ("total", "factor", "specific", "marginal", "contributions", "percent", "percent_factor"):
        np.testing.assert_array_equal(getattr(again, name), getattr(right, name), err_msg=name)


def test_grams_covariances_and_scores_are_those_of_the_definitions():
    rng = np.random.default_rng(3)
    X, weights, y = KERNELS["grams"].sample((3, 40, 4), rng)
    left, right = cpu.grams(X, weights, y)
    np.testing.assert_allclose(left, np.einsum("tni,tn,tnj->tij", X, weights, X), rtol=1e-12)
    np.testing.assert_allclose(right, np.einsum("tni,tn,tn->ti", X, weights, y), rtol=1e-10)
    returns, days = KERNELS["covariances"].sample((2, 30, 4), rng)
    expected = [
        sum(w * np.outer(f, f) for w, f in zip(d, r, strict=True)) / d.sum() for r, d in zip(returns, days, strict=True)
    ]
    np.testing.assert_allclose(cpu.covariances(returns, days), expected, rtol=1e-12)
    values, known = rng.standard_normal((2, 50)), rng.random((2, 50)) < 0.8
    scores = cpu.standardize(values, known, 1.5)
    for row, mask, score in zip(values, known, scores, strict=True):
        expected = np.clip((row[mask] - row[mask].mean()) / row[mask].std(), -1.5, 1.5)
        np.testing.assert_allclose(score[mask], expected, rtol=1e-12)
        assert np.isnan(score[~mask]).all()


@pytest.mark.parametrize("value", [7.0, 0.1, -1e9 / 3.0])
def test_a_date_whose_values_are_all_equal_has_scores_of_zero(value):
    """The mean of equal numbers may be off by a rounding."""
    for module in (cpu, metal, neural_engine):
        scores = module.standardize(np.full((1, 8), value), np.array([[True] * 7 + [False]]), 3.0)
        np.testing.assert_array_equal(scores, [[0.0] * 7 + [np.nan]])


def test_an_error_is_infinite_where_a_number_is_missing_or_too_many():
    right = np.array([1.0, np.nan])
    assert kernels.relative_error(np.array([1.5, np.nan]), right) == 0.5
    assert kernels.relative_error(np.array([np.nan, np.nan]), right) == np.inf
    assert kernels.relative_error(np.array([1.0, 1.0]), right) == np.inf
    assert kernels.relative_error(np.array([np.inf, np.nan]), right) == np.inf
    assert kernels.relative_error(np.ones(3), right) == np.inf


def test_scaling_rounds_nothing():
    rng = np.random.default_rng(4)
    array = rng.standard_normal((3, 50)) * 10.0 ** rng.integers(-12, 12, (3, 1))
    scaled, scale = unit(array, -1)
    np.testing.assert_array_equal(scaled * scale, array)
    assert np.abs(scaled).max() <= 1.0
    np.testing.assert_array_equal(unit(np.zeros((2, 2)))[0], 0.0)
    assert [up_to_bucket(n) for n in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("body", "shapes", "constants"),
    [
        ("product", ((3, 4, 128), (3, 128, 8)), ()),
        ("product", ((2, 3, 8, 128), (2, 3, 128, 16)), ()),
        ("standardize", ((4, 2, 128), (4, 1, 1), (1, 1, 1)), ()),
        ("network ri", ((8, 6),), (np.ones((6, 4)), np.ones(4), np.ones((4, 1)), np.ones(1))),
        ("network ts", ((8, 6),), (np.ones((6, 4)), np.ones(4), np.ones((4, 1)), np.ones(1))),
    ],
)
def test_programs_convert_to_packages_with_float16_inputs_of_fixed_shape(body, shapes, constants, tmp_path):
    pytest.importorskip("coremltools")
    model = neural_engine.program(body, shapes, neural_engine._Constants(constants) if constants else None)
    inputs = model.get_spec().description.input
    assert [tuple(i.type.multiArrayType.shape) for i in inputs] == list(shapes)
    assert {i.type.multiArrayType.dataType for i in inputs} == {65552}  # FLOAT16
    model.save(str(tmp_path / "made.mlpackage"))
    assert (tmp_path / "made.mlpackage" / "Manifest.json").exists()


def test_what_a_prediction_was_given_is_held_while_core_ml_may_still_free_it(monkeypatch):
    """Core ML predicts on a Mac only: here something with its interface does, and keeps nothing itself."""
    now, seen = [1000.0], []

    class Model:
        def predict(self, given):
            seen.append(weakref.ref(given["x"]))
            return {"out": given["x"] * 2}

    monkeypatch.undo()  # `_run` itself
    monkeypatch.setattr(neural_engine, "loaded", lambda *_: Model())
    monkeypatch.setattr(neural_engine, "_inputs", type(neural_engine._inputs)())
    monkeypatch.setattr(neural_engine.time, "monotonic", lambda: now[0])
    for later in (0.0, 2.0):
        now[0] += later
        (made,) = neural_engine._run("product", np.ones((2, 3)))
        np.testing.assert_array_equal(made, 2.0)
    gc.collect()
    assert [one() is not None for one in seen] == [True, True]
    now[0] += 2.0
    neural_engine._run("product", np.ones((2, 3)))
    gc.collect()
    assert [one() is not None for one in seen] == [False, True, True]
