"""Optimal weights against skfolio on the dense covariance, and what limits mean."""

import math
import subprocess
import time
import warnings
from dataclasses import replace
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from factors.errors import FactorError
from factors.numeric import deadline
from factors.portfolio.frontier import frontier, trades
from factors.portfolio.limits import InfeasibleError, Limits, status_of
from factors.portfolio.optimize import Problem, optimize
from factors.portfolio.risk import portfolio_risk
from factors.portfolio.risk_budget import risk_budget
from factors.risk.linked import link

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-oracles" / "bin" / "python"
SCRIPT = ROOT / "tests" / "oracle_scripts" / "optimise_reference.py"
N, K = 40, 5


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(4)
    X = np.column_stack([np.ones(N), rng.standard_normal((N, K - 1))])
    root = rng.standard_normal((K, K + 3)) * 0.004
    linked = link([np.array([3, 9]), np.array([11, 20, 33])], rng.standard_normal((60, N)))
    return Problem(
        exposures=X,
        factor_covariance=root @ root.T,
        specific_variance=(0.008 + 0.02 * rng.random(N)) ** 2,
        alpha=rng.standard_normal(N) * 3e-4,
        start=rng.dirichlet(np.ones(N)),
        linked=linked,
    )


def dense(problem):
    own = np.diag(problem.specific_variance)
    for group, correlation in zip(problem.linked.groups, problem.linked.correlations, strict=True):
        root = np.sqrt(problem.specific_variance[group])
        own[np.ix_(group, group)] = correlation * np.outer(root, root)
    return problem.exposures @ problem.factor_covariance @ problem.exposures.T + own


@pytest.fixture(scope="module")
def reference(problem, tmp_path_factory):
    if not PYTHON.exists():
        pytest.skip("the oracle environment is not built (make oracles)")
    folder = tmp_path_factory.mktemp("oracle")
    budgets = np.random.default_rng(1).dirichlet(np.ones(N) * 3)
    np.savez(
        folder / "in.npz", covariance=dense(problem), alpha=problem.alpha, budgets=budgets, start=problem.start,
        most=0.06, turnover=0.01, aversion=20.0, frontier_most=0.2, n_points=5,
    )  # fmt: skip
    done = subprocess.run(
        [PYTHON, SCRIPT, folder / "in.npz", folder / "out.npz"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out.npz") as arrays:
        return {**arrays, "asked": budgets}


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("theirs", "objective"), [("least", "min_risk"), ("useful", "max_alpha"), ("slow", "min_risk")]
)
def test_weights_are_those_of_skfolio(problem, reference, theirs, objective):
    # skfolio's limit on turnover is one on every name's trade.
    near = (np.maximum(problem.start - 0.01, 0.0), problem.start + 0.01)
    limits = {"least": Limits(position=(0.0, 0.06)), "useful": Limits(), "slow": Limits(positions=near)}[theirs]
    ours = optimize(problem, limits, objective, risk_aversion=20.0).weights
    V = dense(problem)

    def loss(w):
        return w @ V @ w if objective == "min_risk" else 10.0 * w @ V @ w - problem.alpha @ w

    assert loss(ours) <= loss(reference[theirs]) + 1e-6 * abs(loss(reference[theirs]))
    np.testing.assert_allclose(ours, reference[theirs], atol=2e-3)


@pytest.mark.oracle
def test_risk_budgets_are_those_of_skfolio(problem, reference):
    args = (problem.exposures, problem.factor_covariance, problem.specific_variance)
    np.testing.assert_allclose(risk_budget(*args, linked=problem.linked), reference["equal"], atol=1e-4)
    ours = risk_budget(*args, reference["asked"], problem.linked)
    np.testing.assert_allclose(ours, reference["budgets"], atol=1e-4)


def test_contributions_are_the_budgets(problem):
    budgets = np.random.default_rng(2).random(N)
    budgets[::4] = 0.0
    args = (problem.exposures, problem.factor_covariance, problem.specific_variance)
    weights = risk_budget(*args, budgets, problem.linked)
    percent = portfolio_risk(weights, *args, linked=problem.linked).percent[0]
    np.testing.assert_allclose(percent, budgets / budgets.sum(), atol=1e-9)
    assert weights.sum() == pytest.approx(1.0)
    assert not weights[::4].any()


def test_a_budget_for_what_the_model_does_not_cover_is_an_error(problem):
    X = problem.exposures.copy()
    X[7] = np.nan
    args = (X, problem.factor_covariance, problem.specific_variance)
    assert risk_budget(*args)[7] == 0.0
    with pytest.raises(FactorError, match="1 names with a budget"):
        risk_budget(*args, np.ones(N))
    with pytest.raises(FactorError, match="one must be above 0"):
        risk_budget(*args, np.zeros(N))


def test_every_limit_is_kept_and_those_that_hold_are_named(problem):
    limits = Limits(
        position=(-0.05, 0.1), gross=1.4, exposures={"f1": (0.1, 0.1), 2: (None, -0.2)}, turnover=1.2,
        active_position=0.08,
    )  # fmt: skip
    asked = replace(problem, benchmark=np.full(N, 1 / N), cost=0.001)
    found = optimize(asked, limits, "max_alpha", risk_aversion=5.0, factor_names=[f"f{i}" for i in range(K)])
    w = found.weights
    assert w.sum() == pytest.approx(1.0, abs=1e-6)
    assert np.abs(w).sum() <= 1.4 + 1e-6
    assert w.min() >= -0.05 - 1e-7
    assert w.max() <= 0.1 + 1e-7
    assert np.abs(w - 1 / N).max() <= 0.08 + 1e-7
    assert found.turnover <= 1.2 + 1e-6
    assert found.exposures[1] == pytest.approx(0.1, abs=1e-6)
    assert found.exposures[2] <= -0.2 + 1e-6
    assert found.risk == pytest.approx(np.sqrt((w - 1 / N) @ dense(problem) @ (w - 1 / N)), rel=1e-9)
    assert found.cost == pytest.approx(0.001 * found.turnover)
    assert {"net", "exposures.f1"} <= set(found.binding)


def test_a_limit_on_risk_is_met_and_costs_alpha(problem):
    asked = replace(problem, benchmark=np.full(N, 1 / N))
    free = optimize(asked, Limits(), "max_alpha", risk_aversion=0.0)
    tight = optimize(asked, Limits(risk=0.002), "max_alpha", risk_aversion=0.0)
    assert tight.risk <= 0.002 * (1 + 1e-5) < free.risk
    assert tight.alpha < free.alpha
    assert "risk" in tight.binding


def test_what_is_uncovered_is_not_bought_but_the_benchmarks_of_it_counts(problem):
    X = problem.exposures.copy()
    X[5] = np.nan
    found = optimize(replace(problem, exposures=X, benchmark=np.full(N, 1 / N)))
    assert found.weights[5] == 0.0
    assert found.excluded.tolist() == [5]
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-6)


def test_limits_that_cannot_all_be_met_are_named_with_what_they_would_have_to_give(problem):
    start = np.zeros(N)
    start[0] = 1.0
    with pytest.raises(InfeasibleError, match="turnover") as caught:
        optimize(replace(problem, start=start), Limits(position=(0.0, 0.1), turnover=0.2))
    # 0.9 of the one name must be sold and bought elsewhere; or the net weight gives.
    assert caught.value.conflicts
    assert "position" in str(caught.value)
    with pytest.raises(InfeasibleError, match="net") as caught:
        optimize(problem, Limits(position=(0.0, 0.01)))
    assert caught.value.conflicts["net"] == pytest.approx(1.0 - 0.01 * N, abs=1e-4)


@pytest.mark.parametrize("net", [(1.0, 1.0), (None, None)])
def test_without_a_limit_nothing_stops_a_search_for_alpha(problem, net):
    with pytest.raises(FactorError, match="nothing limits"):
        optimize(problem, Limits(position=(None, None), net=net), "max_alpha", risk_aversion=0.0)


def test_what_the_solver_takes_for_the_best_of_a_search_without_an_end_is_no_answer(problem, monkeypatch):
    def solved_far_out(made):
        for variable in made.variables():
            variable.value = np.full(variable.shape, 1e24)
        return "optimal"

    monkeypatch.setattr("factors.portfolio.optimize.status_of", solved_far_out)
    with pytest.raises(FactorError, match="nothing limits"):
        optimize(problem, Limits(position=(None, None)), "max_alpha", risk_aversion=0.0)


@pytest.fixture
def failing_first(monkeypatch):
    """Let the solver lose its way at the first problem it is given, as it does on some processors."""
    seen = []

    def failed_once(made):
        seen.append(made)
        return "solver error: no progress" if len(seen) == 1 else status_of(made)

    monkeypatch.setattr("factors.portfolio.optimize.status_of", failed_once)
    return seen


@pytest.mark.parametrize("net", [(1.0, 1.0), (None, None)])
def test_a_solver_that_is_lost_in_a_search_without_an_end_says_that_nothing_limits_it(problem, net, failing_first):
    with pytest.raises(FactorError, match="nothing limits"):
        optimize(problem, Limits(position=(None, None), net=net), "max_alpha", risk_aversion=0.0)
    assert len(failing_first) == 2


@pytest.mark.parametrize(
    "limits", [Limits(), Limits(position=(None, None), risk=0.03), Limits(position=(-1.0, 1.0), turnover=0.5)]
)
def test_a_solver_that_is_lost_once_gives_the_answer_in_a_box(problem, limits, failing_first):
    boxed = optimize(problem, limits, "max_alpha", risk_aversion=5.0)
    assert len(failing_first) == 2
    plain = optimize(problem, limits, "max_alpha", risk_aversion=5.0)
    np.testing.assert_allclose(boxed.weights, plain.weights, atol=1e-5)
    assert set(boxed.binding) == set(plain.binding)


def test_a_solver_that_is_lost_once_still_names_limits_that_conflict(problem, failing_first):
    with pytest.raises(InfeasibleError, match="risk"):
        optimize(problem, Limits(risk=1e-6), "max_alpha")


def test_a_solver_that_is_lost_twice_is_said_to_be(problem, monkeypatch):
    monkeypatch.setattr("factors.portfolio.optimize.status_of", lambda made: "solver error: no progress")
    with pytest.raises(FactorError, match="the solver gave no answer: solver error: no progress"):
        optimize(problem, Limits())


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"net": (1.0, 0.0)}, "net"),
        ({"position": (0.5, 0.1)}, "position"),
        ({"turnover": -1.0}, "turnover"),
        ({"risk": float("nan")}, "risk"),
        ({"exposures": {"beta": (1.0, 0.0)}}, "exposures.beta"),
    ],
)
def test_limits_that_mean_nothing_are_named(limits, field):
    with pytest.raises(FactorError) as caught:
        Limits(**limits)
    assert caught.value.field == field


def test_a_factor_that_is_not_there_is_named(problem):
    with pytest.raises(FactorError, match="'beta'"):
        optimize(problem, Limits(exposures={"beta": (0.0, 0.0)}), factor_names=["a"] * K)


def test_a_frontier_ends_with_its_caller_and_each_problem_at_its_deadline(problem, monkeypatch):
    limit, solved, solve = deadline.Deadline(time.time() + 600.0), [], cp.Problem.solve

    def gone_meanwhile(self, **options):
        solved.append(options["time_limit"])
        limit.end()
        return solve(self, **options)

    monkeypatch.setattr(cp.Problem, "solve", gone_meanwhile)
    with deadline.until(limit), pytest.raises(deadline.Ended):
        frontier(problem, Limits(position=(0.0, 0.2)), 6)
    assert len(solved) == 1
    assert 0.0 < solved[0] <= 600.0


def test_the_solver_stops_at_its_limit_of_time(problem):
    x = cp.Variable(N)
    asked = cp.Problem(cp.Minimize(cp.sum_squares(dense(problem) @ x - problem.alpha)), [cp.sum(x) == 1.0, x >= 0.0])
    with warnings.catch_warnings(action="ignore"):
        asked.solve(solver=cp.CLARABEL, time_limit=1e-9)
    assert asked.status == cp.USER_LIMIT
    assert asked.solve(solver=cp.CLARABEL, time_limit=math.inf) > 0.0


def test_the_frontier_rises_from_least_risk_to_most_alpha(problem):
    points = frontier(problem, Limits(position=(0.0, 0.2)), 6)
    risks, alphas = [p.risk for p in points], [p.alpha for p in points]
    assert np.all(np.diff(risks) > 0.0)
    assert np.all(np.diff(alphas) > 0.0)
    np.testing.assert_allclose(np.diff(risks), np.diff(risks).mean(), rtol=0.02)
    with pytest.raises(FactorError, match="needs alpha"):
        frontier(replace(problem, alpha=None))


def test_the_least_trades_reach_the_exposures_asked_for(problem):
    found = optimize(problem, Limits(exposures={1: (0.3, 0.3)}), "min_turnover")
    assert found.exposures[1] == pytest.approx(0.3, abs=1e-6)
    anyhow = optimize(problem, Limits(exposures={1: (0.3, 0.3)}))
    assert found.turnover < anyhow.turnover


def test_the_least_trades_are_those_of_a_linear_program(problem):
    limits = Limits(position=(0.0, 0.08), exposures={1: (0.3, 0.3), 2: (None, -0.1)})
    found = optimize(problem, limits, "min_turnover")
    # Simplex of HiGHS over what is bought and what is sold; no interior point, no cone.
    X = problem.exposures
    rows = np.vstack([np.ones(N), X[:, 1]])
    made = linprog(
        np.ones(2 * N),
        A_eq=np.hstack([rows, -rows]),
        b_eq=np.array([1.0, 0.3]) - rows @ problem.start,
        A_ub=np.vstack(
            [np.hstack([X[:, 2], -X[:, 2]]), np.hstack([np.eye(N), -np.eye(N)]), np.hstack([-np.eye(N), np.eye(N)])]
        ),
        b_ub=np.concatenate([[-0.1 - X[:, 2] @ problem.start], 0.08 - problem.start, problem.start]),
        bounds=(0.0, None),
        method="highs",
    )
    assert made.status == 0
    assert found.turnover == pytest.approx(made.fun, abs=1e-6)
    np.testing.assert_allclose(found.weights, problem.start + made.x[:N] - made.x[N:], atol=1e-4)


@pytest.mark.parametrize("objective", ["min_risk", "max_alpha"])
def test_active_books_under_exposure_limits_are_those_of_another_solver(problem, objective):
    asked = replace(problem, benchmark=np.full(N, 1 / N))
    limits = Limits(position=(0.0, 0.1), exposures={1: (0.2, 0.2), 2: (None, -0.1)}, active_position=0.06)
    found = optimize(asked, limits, objective, risk_aversion=30.0)
    V, X, b = dense(problem), problem.exposures, asked.benchmark
    scale = 1e4

    def loss(w):
        a = w - b
        return scale * (a @ V @ a if objective == "min_risk" else 15.0 * a @ V @ a - problem.alpha @ a)

    def slope(w):
        a = w - b
        return scale * (2.0 * V @ a if objective == "min_risk" else 30.0 * V @ a - problem.alpha)

    other = minimize(
        loss, b, jac=slope, method="SLSQP", bounds=[(0.0, 1 / N + 0.06)] * N,
        constraints=[
            {"type": "eq", "fun": lambda w: w.sum() - 1.0},
            {"type": "eq", "fun": lambda w: X[:, 1] @ (w - b) - 0.2},
            {"type": "ineq", "fun": lambda w: -0.1 - X[:, 2] @ (w - b)},
        ],
        options={"maxiter": 1000, "ftol": 1e-10},  # at 1e-13 its line search gives up on one problem of four
    )  # fmt: skip
    assert other.success
    assert loss(found.weights) == pytest.approx(other.fun, rel=1e-6)
    np.testing.assert_allclose(found.weights, other.x, atol=1e-4)


@pytest.mark.oracle
def test_the_books_of_a_frontier_are_those_of_skfolio_at_their_risk(problem, reference):
    points = frontier(problem, Limits(position=(0.0, 0.2)), 5)
    np.testing.assert_allclose([point.risk for point in points], reference["levels"], rtol=1e-6)
    for point, theirs in zip(points[1:-1], reference["frontier"][1:-1], strict=True):
        assert point.alpha >= problem.alpha @ theirs - 1e-8
        assert problem.alpha @ theirs == pytest.approx(point.alpha, rel=1e-4)
        np.testing.assert_allclose(point.weights, theirs, atol=5e-3)


def test_trades_are_whole_lots_towards_no_trade():
    start, target = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.3, 0.5, 0.1, 0.1])
    found = trades(start, target, np.array([10.0, 5.0, 33.0, np.nan]), 1000.0, lot=2.0)
    np.testing.assert_allclose(found.weights, [-0.2, 0.0, 0.1, 0.1])
    np.testing.assert_array_equal(found.shares, [-20.0, 0.0, 2.0, np.nan])
    assert found.left == pytest.approx(34.0 + 100.0)
    with pytest.raises(FactorError, match="value"):
        trades(start, target, np.ones(4), 0.0)


def test_a_cost_is_paid_once_in_the_days_that_a_position_is_held(problem):
    start = np.eye(N)[int(problem.alpha.argmin())]
    asked = replace(problem, start=start, cost=float(np.ptp(problem.alpha)))
    day = optimize(asked, Limits(), "max_alpha", risk_aversion=0.0)
    year = optimize(replace(asked, holding_days=252.0), Limits(), "max_alpha", risk_aversion=0.0)
    assert day.turnover == pytest.approx(0.0, abs=1e-5)
    assert year.turnover == pytest.approx(2.0, abs=1e-5)
    assert year.cost == pytest.approx(asked.cost * year.turnover)
    with pytest.raises(FactorError, match="holding_days"):
        optimize(replace(asked, holding_days=0.0))


def test_the_book_of_least_risk_on_a_frontier_tells_what_its_trades_cost(problem):
    asked = replace(problem, start=np.full(N, 1.0 / N), cost=np.linspace(0.001, 0.002, N))
    for point in frontier(asked, Limits(position=(0.0, 0.2)), 3):
        assert point.cost == pytest.approx(float(asked.cost @ np.abs(point.weights - asked.start)), rel=1e-9)
        assert point.cost > 0.0
