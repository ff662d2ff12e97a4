"""Networks of dense layers out of files: they compute what the file's own library does, or are refused by name."""

import base64

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from actors.learning.keeper import Keeper
from actors.learning.onnx_network import NotDenseError, read_network
from actors.learning.sklearn_network import network_of
from contracts.errors import InvalidInput
from factors.learning.dense import DenseNetwork

RNG = np.random.default_rng(5)
W, V, U = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 6), (6, 5), (5, 1)))
B, C, D = (RNG.standard_normal(n).astype(np.float32) for n in (6, 5, 1))


def graph_of(nodes, kind=np.float32, width=4, rows="n", end=None, fixed=None, outputs=1):
    """Make a file of nodes ``(operator, inputs, attributes)``: "x" is what came before, arrays are constants."""
    made, tensors, before = [], [], "x0"
    for number, (operator, given_, told) in enumerate(nodes, start=1):
        names = []
        for place, value in enumerate(given_):
            if isinstance(value, str):
                names.append(before if value == "x" else value)
                continue
            names.append(f"c{number}_{place}")
            tensors.append(numpy_helper.from_array(np.asarray(value), names[-1]))
        domain = "ai.onnx.ml" if operator == "Scaler" else ""
        made.append(helper.make_node(operator, names, [f"x{number}"], f"node{number}", domain=domain, **told))
        before = f"x{number}"
    number = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x0", number, [rows, width])],
        [helper.make_tensor_value_info(end or before, number, ["rows", "columns"])] * outputs,
        tensors if fixed is None else fixed,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, producer_name="tests", ir_version=9)


def gemm(weights, offsets, turned=False, **told):
    return (
        "Gemm",
        ["x", weights.T.copy() if turned else weights, offsets],
        {**({"transB": 1} if turned else {}), **told},
    )


LAST = (("MatMul", ["x", U], {}), ("Add", ["x", D], {}))
RELU, TANH, SIGMOID = (("Relu", ["x"], {}), ("Tanh", ["x"], {}), ("Sigmoid", ["x"], {}))
TO_DOUBLE, TO_FLOAT = (("Cast", ["x"], {"to": kind}) for kind in (TensorProto.DOUBLE, TensorProto.FLOAT))
SCALER = ("Scaler", ["x"], {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5, 0.5, 0.25, 2.0]})
GOOD = {
    "gemms": [gemm(W, B), RELU, gemm(V, C), TANH, gemm(U, D)],
    "turned and scaled gemms": [gemm(W, B, turned=True, alpha=0.5, beta=2.0), SIGMOID, gemm(V, C, turned=True), *LAST],
    "gemm without offsets": [("Gemm", ["x", W], {}), RELU, ("Gemm", ["x", V], {}), *LAST],
    "sums on either side": [
        *(("MatMul", ["x", W], {}), ("Add", [B, "x"], {}), ("Sub", ["x", B], {}), ("Sub", [B, "x"], {})),
        *(RELU, ("MatMul", ["x", V], {}), *LAST),
    ],
    "scaled at first": [
        *(("Sub", ["x", np.float32([1, 2, 3, 4])], {}), ("Div", ["x", np.float32([[2, 2, 4, 8]])], {})),
        *(gemm(W, B), RELU, gemm(V, C), *LAST),
    ],
    "a scaler of scikit-learn's converter": [SCALER, gemm(W, B), RELU, gemm(V, C), *LAST],
    "scaled behind an activation": [
        *(gemm(W, B), TANH, ("Mul", ["x", np.float32(3.0)], {}), ("Add", ["x", B], {}), gemm(V, C), RELU, *LAST),
    ],
    "scaled at the end": [
        *(gemm(W, B), RELU, gemm(V, C), *LAST),
        *(("Mul", ["x", np.float32([0.01])], {}), ("Add", ["x", np.float32(0.5)], {})),
    ],
    "an activation and a scale at the end": [
        *(gemm(W, B), RELU, gemm(V, C), *LAST, TANH, ("Mul", ["x", np.float32(0.2)], {})),
    ],
    "two activations": [gemm(W, B), RELU, TANH, gemm(V, C), *LAST],
    "linear layers behind each other": [gemm(W, B), gemm(V, C), RELU, *LAST],
    "casts, reshapes, flattens": [
        *(TO_DOUBLE, TO_FLOAT, ("Flatten", ["x"], {"axis": 1}), ("Identity", ["x"], {})),
        *(gemm(W, B), RELU, gemm(V, C), *LAST, ("Reshape", ["x", np.int64([-1, 1])], {})),
    ],
}


def differs(model, made, rows):
    (right,) = ReferenceEvaluator(model).run(None, {"x0": rows})
    own = made.predict(rows.astype(np.float64))
    assert own.shape == (len(rows), 1)
    return np.abs(own - np.asarray(right).reshape(len(rows), 1)).max() / np.abs(right).max()


@pytest.mark.parametrize("name", GOOD)
def test_what_is_read_computes_as_onnx_does(name):
    model = graph_of(GOOD[name])
    made, made_by = read_network(model.SerializeToString())
    assert made_by == "tests"
    assert made.n_inputs == 4
    rows = np.random.default_rng(8).standard_normal((500, 4)).astype(np.float32) * 3
    assert differs(model, made, rows) < 2e-6
    again = DenseNetwork.from_bytes(made.to_bytes())
    np.testing.assert_array_equal(again.predict(rows.astype(np.float64)), made.predict(rows.astype(np.float64)))


def test_scalers_before_the_layers_stay_apart_from_them():
    """In float64 on the CPU they cost a device with short numbers nothing; as part of its weights they would."""
    made, _ = read_network(graph_of(GOOD["scaled at first"]).SerializeToString())
    assert [type(step).__name__ for step in made.steps] == ["Scaler", "Scaler"]
    assert made.shape == (4, 6, 5, 1)
    made, _ = read_network(graph_of(GOOD["scaled behind an activation"]).SerializeToString())
    assert (made.steps, made.shape) == ((), (4, 6, 5, 1))


def test_constant_nodes_doubles_and_fixed_batches_are_read():
    model = graph_of(
        [("MatMul", ["x", "w"], {}), ("Tanh", ["x"], {}), ("MatMul", ["x", np.ones((6, 1))], {})], np.float64, rows=7
    )
    tensor = numpy_helper.from_array(W.astype(np.float64), "w0")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w0"], value=tensor))
    model.graph.node.insert(1, helper.make_node("Identity", ["w0"], ["w"]))
    made, _ = read_network(model.SerializeToString())
    rows = np.random.default_rng(8).standard_normal((7, 4))
    assert differs(model, made, rows) < 1e-14


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_chain_of_these_operators_is_read_as_onnx_computes_it(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    width, nodes, layers = 4, [], 0

    def row():
        return (rng.uniform(0.5, 2.0, width) * rng.choice([-1, 1])).astype(np.float32)

    for operator in data.draw(st.lists(st.sampled_from([*"MGASDULTRI"]), min_size=1, max_size=9)):
        if operator in "MG":
            wide = int(rng.integers(1, 7))
            weights = (rng.standard_normal((width, wide)) / np.sqrt(width)).astype(np.float32)
            width, layers = wide, layers + 1
            nodes.append(
                ("MatMul", ["x", weights], {})
                if operator == "M"
                else gemm(weights, row(), turned=bool(rng.integers(2)))
            )
        elif operator in "ASDU":
            kind = {"A": "Add", "S": "Sub", "D": "Div", "U": "Mul"}[operator]
            nodes.append((kind, ["x", row()] if operator == "D" or rng.integers(2) else [row(), "x"], {}))
        elif operator == "I":
            nodes.append(("Identity", ["x"], {}))
        elif layers:
            nodes.append(({"L": "Sigmoid", "T": "Tanh", "R": "Relu"}[operator], ["x"], {}))
    nodes.append(("MatMul", ["x", np.full((width, 1), 1.0 / width, np.float32)], {}))
    model = graph_of(nodes)
    made, _ = read_network(model.SerializeToString())
    rows = rng.standard_normal((64, 4)).astype(np.float32)
    (right,) = ReferenceEvaluator(model).run(None, {"x0": rows})
    np.testing.assert_allclose(made.predict(rows.astype(np.float64)), right, atol=3e-5 * max(np.abs(right).max(), 1.0))


def residual():
    nodes = [gemm(W, B), ("Relu", ["x"], {}), gemm(V, C), ("Add", ["x", "x2"], {}), *LAST]
    return graph_of(nodes)


def external():
    model = graph_of(GOOD["gemms"])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return model


def two_inputs():
    model = graph_of(GOOD["gemms"])
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4]))
    return model


def own_operator():
    model = graph_of(GOOD["gemms"])
    model.graph.node[1].domain = "com.somebody"
    model.opset_import.append(helper.make_opsetid("com.somebody", 1))
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (b"no protobuf", "no valid file of ONNX"),
        (b"", "no valid file of ONNX"),
        (graph_of([gemm(W, B), ("Softmax", ["x"], {}), *LAST]), r"Softmax \(node2\) is none of a network of dense"),
        (own_operator, r"com.somebody.Relu \(node2\) is none"),
        (residual, "Add (node4) needs fixed numbers on one side"),
        (graph_of([gemm(W, B), ("Relu", ["x"], {}), gemm(V, C)]), "it gives 5 numbers for each row"),
        (graph_of([RELU, gemm(W, B), gemm(V, C), *LAST]), r"Relu \(node1\) stands before the first layer"),
        (graph_of([("Identity", ["x"], {})]), "no dense layer"),
        (graph_of(GOOD["gemms"], width="k"), "says no number of features"),
        (graph_of(GOOD["gemms"], end="x3"), "is not the end of the chain"),
        (two_inputs, "2 inputs and 1 outputs"),
        (external, "in another file"),
        (graph_of([gemm(W, B, transA=1), *LAST]), "transposes the rows"),
        (graph_of([("MatMul", [W.T.copy(), "x"], {})]), "from the right"),
        (graph_of([gemm(W, B), ("Div", [B, "x"], {}), gemm(V, C), *LAST]), "divides by the columns"),
        (graph_of([gemm(W, B), ("Div", ["x", np.zeros(6, np.float32)], {}), gemm(V, C), *LAST]), "divides by 0"),
        (graph_of([gemm(W, B), gemm(V, C), *LAST, ("Reshape", ["x", np.int64([1, -1])], {})]), "another shape"),
        (graph_of([*GOOD["gemms"], ("Cast", ["x"], {"to": TensorProto.INT64})]), "another shape or type"),
        (graph_of([gemm(W, np.full(6, np.inf, np.float32)), gemm(V, C), *LAST]), "no finite number"),
        (graph_of([gemm(W, B), ("Add", ["x", np.zeros((3, 6), np.float32)], {}), *LAST]), "has numbers of the shape"),
    ],
)  # fmt: skip
def test_what_is_no_chain_of_dense_layers_is_refused_by_name(model, said):
    model = model() if callable(model) else model
    with pytest.raises(NotDenseError, match=said.replace("(node4)", r"\(node4\)")):
        read_network(model if isinstance(model, bytes) else model.SerializeToString())


def test_a_network_that_is_not_read_as_the_file_computes_is_refused(monkeypatch):
    """Whatever the reader may get wrong is found by evaluating the file."""
    model = graph_of(GOOD["gemms"])
    monkeypatch.setitem(__import__("actors.learning.onnx_network").learning.onnx_network.LETTERS, "Tanh", "r")
    with pytest.raises(NotDenseError, match="differs from what ONNX evaluates"):
        read_network(model.SerializeToString())


def test_without_onnx_the_refusal_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(NotDenseError, match="the extra `networks`"):
        read_network(b"")


# -- of scikit-learn


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(3)
    x = rng.standard_t(3, (400, 3)) * [1.0, 100.0, 1e-3] + [0.0, 50.0, 0.0]
    x[:, 2] = np.round(x[:, 2], 3)  # ties
    return x, np.tanh(x[:, 0]) + 0.01 * x[:, 1]


def fitted(*steps, activation="relu", **told):
    return make_pipeline(
        *steps, MLPRegressor(hidden_layer_sizes=(8, 4), activation=activation, max_iter=3, random_state=0, **told)
    )


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    "estimator",
    [
        fitted(),
        fitted(StandardScaler(), activation="tanh"),
        fitted(StandardScaler(with_mean=False), activation="logistic"),
        fitted(StandardScaler(with_std=False), activation="identity"),
        fitted(RobustScaler()),
        fitted(RobustScaler(with_centering=False)),
        fitted(MinMaxScaler((-1, 2))),
        fitted(MaxAbsScaler(), "passthrough", StandardScaler()),
        fitted(QuantileTransformer(n_quantiles=50), StandardScaler()),
        MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, random_state=0),
    ],
    ids=str,
)
def test_a_network_of_scikit_learn_predicts_as_it_does_there(estimator, market):
    x, y = market
    estimator.fit(x, y)
    network = network_of(estimator)
    rows = np.concatenate([x, x * 3 + 1, x[:5] * 0])
    np.testing.assert_allclose(network.predict(rows)[:, 0], estimator.predict(rows), rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        fitted(QuantileTransformer(n_quantiles=50, output_distribution="normal")),
        fitted(PowerTransformer()),
        fitted(MinMaxScaler(clip=True)),
        type("Own", (MLPRegressor,), {})(hidden_layer_sizes=(4,), max_iter=2),
    ],
    ids=str,
)
def test_what_does_more_stays_with_scikit_learn(estimator, market):
    assert network_of(estimator.fit(*market)) is None


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_more_than_one_output_and_classes_are_no_network_here(market):
    x, y = market
    assert network_of(MLPRegressor(hidden_layer_sizes=(4,), max_iter=2).fit(x, np.column_stack([y, y]))) is None
    assert network_of(MLPClassifier((4,), max_iter=2).fit(x, y > 0)) is None


# -- in the process that loads files


@pytest.fixture
def keeper():
    made = Keeper()
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_process_of_a_file_gives_its_network_and_nothing_for_others(keeper, market):
    estimator = fitted(StandardScaler()).fit(*market)
    content = skops.io.dumps(estimator)
    found, network = keeper.try_out(content, skops.io.get_untrusted_types(data=content), ("a", "b", "c"))
    assert found["kind"] == "sklearn.pipeline.Pipeline"
    rows = market[0]
    np.testing.assert_allclose(
        DenseNetwork.from_bytes(network).predict(rows)[:, 0], estimator.predict(rows), rtol=1e-10
    )
    assert keeper.try_out(skops.io.dumps(LinearRegression().fit(*market)), (), ("a", "b", "c"))[1] == b""
    content = graph_of(GOOD["gemms"]).SerializeToString()
    found, network = keeper.try_out(content, (), ("a", "b", "c", "d"), "onnx")
    assert found == {"kind": "onnx.ModelProto", "allows_missing": False, "saved_by": "tests"}
    assert DenseNetwork.from_bytes(network).shape == (4, 6, 5, 1)


@pytest.mark.parametrize(
    ("content", "form", "field", "said"),
    [
        (
            graph_of(GOOD["gemms"]).SerializeToString(),
            "onnx",
            "features",
            "it takes 4 columns, and 2 features are named",
        ),
        (residual().SerializeToString(), "onnx", "estimator", "needs fixed numbers"),
        (graph_of(GOOD["gemms"]).SerializeToString(), "skops", "estimator", "zip"),
        (base64.b64decode("UEsDBA=="), "onnx", "estimator", "no valid file of ONNX"),
    ],
)
def test_a_bad_file_is_refused_with_its_field(keeper, content, form, field, said):
    with pytest.raises(InvalidInput, match=said) as caught:
        keeper.try_out(content, (), ("a", "b"), form)
    assert caught.value.field == field
