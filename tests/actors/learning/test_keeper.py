"""Files of estimators, good and bad, in processes of their own."""

import os

import numpy as np
import polars as pl
import psutil
import pytest
import skops.io
from left_behind import words_of
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from actors.learning import keeper as room
from actors.learning.keeper import EstimatorProcess, Keeper
from contracts.errors import InvalidInput

FEATURES = ("beta", "momentum")
TREE = "sklearn.tree._tree.Tree"


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(3)
    given = rng.standard_normal((200, 2))
    return given, given @ [0.01, -0.02] + 0.001 * rng.standard_normal(200)


@pytest.fixture
def keeper():
    made = Keeper()
    yield made
    made.close()


def astray(trained):
    """A tree whose nodes lead far out of its array: skops loads it without complaint when its type is trusted."""
    tree = DecisionTreeRegressor(max_depth=2).fit(*trained)
    state = tree.tree_.__getstate__()
    state["nodes"]["left_child"] = 2**40
    state["nodes"]["right_child"] = 2**40
    tree.tree_.__setstate__(state)
    return skops.io.dumps(tree)


def cut(trained):
    return skops.io.dumps(LinearRegression().fit(*trained))[:-200]


@pytest.mark.parametrize(
    ("content", "features", "trusted", "field", "said"),
    [
        (lambda _: b"no zip", FEATURES, (), "estimator", "zip"),
        (cut, FEATURES, (), "estimator", "zip"),
        (lambda _: skops.io.dumps({"a": 1}), FEATURES, (), "estimator", "predicts nothing"),
        (lambda _: skops.io.dumps(LinearRegression()), FEATURES, (), "estimator", "predict"),
        (lambda t: skops.io.dumps(LinearRegression().fit(*t)), FEATURES[:1], (), "features", "2 columns"),
        (
            lambda t: skops.io.dumps(LinearRegression().fit(pl.DataFrame(t[0], schema=list(FEATURES)), t[1])),
            FEATURES[::-1],
            (),
            "features",
            "in this order",
        ),
        (lambda t: skops.io.dumps(DecisionTreeRegressor().fit(*t)), FEATURES, (), "trusted", TREE),
        (astray, FEATURES, (TREE,), "estimator", "ends the process"),
    ],
    ids=["no zip", "cut off", "no estimator", "not fitted", "too wide", "another order", "not trusted", "crashes"],
)
def test_a_bad_file_is_refused_and_says_what_is_wrong(keeper, trained, content, features, trusted, field, said):
    with pytest.raises(InvalidInput) as caught:
        keeper.try_out(content(trained), trusted, features)
    assert caught.value.field == field
    assert said in caught.value.detail


def test_types_of_others_are_not_loaded_though_they_are_trusted(keeper):
    evil = skops.io.dumps(FunctionTransformer(func=os.getcwd))
    (name,) = skops.io.get_untrusted_types(data=evil)
    for trusted in ([], [name]):
        with pytest.raises(InvalidInput) as caught:
            keeper.try_out(evil, trusted, FEATURES)
        assert caught.value.field == "trusted"
        assert name in caught.value.detail


def test_one_that_takes_too_long_is_ended(keeper, trained, monkeypatch):
    monkeypatch.setattr(room, "LOAD_S", 0.0)
    with pytest.raises(InvalidInput, match="took longer"):
        keeper.try_out(skops.io.dumps(LinearRegression().fit(*trained)), (), FEATURES)
    assert not [child for child in psutil.Process().children() if "estimator_process" in str(words_of(child))]


def test_it_predicts_as_scikit_learn_does_from_a_process_that_is_kept_and_started_anew(keeper, trained):
    estimator = LinearRegression().fit(*trained)
    content = skops.io.dumps(estimator)
    read = []

    def load():
        read.append(1)
        return content, (), FEATURES

    for _ in range(2):
        np.testing.assert_array_equal(keeper.predict("a", load, trained[0]), estimator.predict(trained[0]))
    assert len(read) == 1
    (process,) = keeper._kept.values()
    process._child.kill()
    process._child.wait()
    np.testing.assert_array_equal(keeper.predict("a", load, trained[0][:1]), estimator.predict(trained[0][:1]))
    assert len(read) == 2


def test_the_process_knows_nothing_of_the_engine(monkeypatch):
    monkeypatch.setenv("FACTOR_ENGINE_TOKENS", "secret")
    process = EstimatorProcess()
    try:
        assert not [name for name in psutil.Process(process._child.pid).environ() if name.startswith("FACTOR_ENGINE")]
    finally:
        process.end()
    assert not process.alive
