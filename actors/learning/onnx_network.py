"""A caller's own network in an ONNX file: a graph of dense layers is read once, anything else in it refused by name.

It runs in the process of an estimator's file, since the file is somebody else's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from factors.errors import FactorError
from factors.learning.dense import DenseNetwork, Scaler, Step

Array = NDArray[np.float64]
LETTERS = {"Relu": "r", "Tanh": "t", "Sigmoid": "s"}
PLAIN = ("Add", "Sub", "Mul", "Div")
PASSED = ("Identity", "Flatten", "Cast", "Reshape")
OPERATORS = ("Gemm", "MatMul", *PLAIN, *LETTERS, *PASSED, "Scaler")
FLOATS = (1, 10, 11)
"""float, float16, double."""
PARITY = 1e-4
"""Of the largest answer: the file's graph computes in float32, this in float64."""


class NotDenseError(Exception):
    """The file has something that is no dense layer, or is no ONNX file."""


def read_network(content: bytes) -> tuple[DenseNetwork, str]:
    """Read a file; gives the network, and what made the file.

    Raises
    ------
    NotDenseError
        Names the operator, the tensor or the shape that is none of a network of dense layers with one output.
    """
    try:
        import onnx
    except ImportError:
        raise NotDenseError(
            "files of ONNX need the package onnx, which is not installed: the extra `networks`"
        ) from None
    try:
        model = onnx.load_model_from_string(content)
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise NotDenseError(f"the weights of {tensor.name!r} are in another file: save them inside")
        onnx.checker.check_model(model)
    except NotDenseError:
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it is the file's
        line = (str(error).strip().splitlines() or [""])[0][:300]
        raise NotDenseError(f"it is no valid file of ONNX: {type(error).__name__}: {line}") from None
    try:
        made = _Reader(model.graph).network()
    except FactorError as error:
        raise NotDenseError(str(error)) from None
    if made.n_outputs != 1:
        raise NotDenseError(f"it gives {made.n_outputs} numbers for each row; it must give one")
    _compare(model, made)
    return made, f"{model.producer_name} {model.producer_version}".strip()


def _compare(model: Any, made: DenseNetwork) -> None:
    """Hold what was read against ONNX's own evaluation of the file, on drawn inputs."""
    from onnx.reference import ReferenceEvaluator

    (given,) = _inputs(model.graph)
    kind = {1: np.float32, 10: np.float16, 11: np.float64}[given.type.tensor_type.elem_type]
    rows = made.drawn().astype(kind)
    dims = given.type.tensor_type.shape.dim
    rows = np.resize(rows, (dims[0].dim_value or len(rows), rows.shape[1]))  # a batch may be of a fixed size
    try:
        (answer,) = ReferenceEvaluator(model).run(None, {given.name: rows})
    except Exception as error:  # noqa: BLE001
        raise NotDenseError(f"ONNX cannot evaluate it: {type(error).__name__}: {str(error)[:300]}") from None
    right = np.asarray(answer, np.float64).reshape(len(rows), -1)
    own = made.predict(rows.astype(np.float64))
    scale = float(np.abs(right).max(initial=0.0)) or 1.0
    off = float(np.abs(own - right).max(initial=0.0)) / scale if own.shape == right.shape else np.inf
    if not off <= (PARITY if kind is not np.float16 else 100.0 * PARITY):
        raise NotDenseError(f"read as dense layers it differs from what ONNX evaluates, by {off:.1e} of the largest")


def _inputs(graph: Any) -> list[Any]:
    fixed = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in fixed]


class _Reader:
    """Walks the chain from the graph's input to its output."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self._graph = graph
        if len(graph.sparse_initializer):
            raise NotDenseError("it has sparse weights, which are not read")
        self._fixed: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.steps: list[Step] = []
        self.layers: list[tuple[Array, Array]] = []
        self.letters: list[str] = []
        # Of the columns as they stand now, not yet part of a layer: x * scale + offset, behind an activation.
        self._scale: Array = np.ones(1)
        self._offset: Array = np.zeros(1)
        self._open = False  # whether scales and offsets may still go into the last layer

    def network(self) -> DenseNetwork:
        """Read it all."""
        graph = self._graph
        inputs = _inputs(graph)
        if len(inputs) != 1 or len(graph.output) != 1:
            raise NotDenseError(
                f"it has {len(inputs)} inputs and {len(graph.output)} outputs; it must have one of each"
            )
        kind = inputs[0].type.tensor_type
        if kind.elem_type not in FLOATS or len(kind.shape.dim) != 2:
            raise NotDenseError("its input must be a matrix of float or double: rows by features")
        self._width = int(kind.shape.dim[1].dim_value)
        if not self._width:
            raise NotDenseError("its input says no number of features: its second dimension must be a number")
        name = inputs[0].name
        for node in graph.node:
            if node.domain not in ("", "ai.onnx", "ai.onnx.ml") or node.op_type not in (*OPERATORS, "Constant"):
                raise NotDenseError(_foreign(node))
            if self._constant(node):
                continue
            if name not in node.input or len(node.output) != 1:
                raise NotDenseError(
                    f"{_called(node)} does not follow on what is before it: the graph must be one chain"
                )
            self._take(node, name)
            name = node.output[0]
        if name != graph.output[0].name:
            raise NotDenseError(f"its output {graph.output[0].name!r} is not the end of the chain, {name!r}")
        self._close()
        if not self.layers:
            raise NotDenseError("it has no dense layer")
        flat = tuple(array for layer in self.layers for array in layer)
        return DenseNetwork(tuple(self.steps), "".join(self.letters), flat)

    def _constant(self, node: Any) -> bool:
        """Whether a node makes numbers of constants alone; they are kept."""
        from onnx import numpy_helper

        if node.op_type == "Constant":
            found = {a.name: a for a in node.attribute}
            if "value" not in found:
                raise NotDenseError(f"{_called(node)} has no tensor as its value")
            self._fixed[node.output[0]] = numpy_helper.to_array(found["value"].t)
            return True
        if node.op_type == "Identity" and node.input[0] in self._fixed:
            self._fixed[node.output[0]] = self._fixed[node.input[0]]
            return True
        return False

    def _take(self, node: Any, name: str) -> None:
        kind = node.op_type
        if kind == "Gemm":
            self._gemm(node, name)
        elif kind == "MatMul":
            self._layer(self._weights(node, name), np.zeros(1))
        elif kind in PLAIN:
            self._plain(node, name)
        elif kind == "Scaler":
            self._scaler(node)
        elif kind in LETTERS:
            self._activate(LETTERS[kind], node)
        elif kind in PASSED:
            self._pass(node)

    def _weights(self, node: Any, name: str) -> Array:
        if node.input[0] != name or node.input[1] not in self._fixed:
            raise NotDenseError(f"{_called(node)} must multiply the rows from the right by fixed weights")
        return np.asarray(self._fixed[node.input[1]], np.float64)

    def _gemm(self, node: Any, name: str) -> None:
        told = {a.name: a.f if a.type == 1 else a.i for a in node.attribute}
        if told.get("transA", 0):
            raise NotDenseError(f"{_called(node)} transposes the rows")
        weights = self._weights(node, name) * told.get("alpha", 1.0)
        offsets = np.zeros(1)
        if len(node.input) > 2 and node.input[2]:
            if node.input[2] not in self._fixed:
                raise NotDenseError(f"{_called(node)} adds what is not fixed")
            offsets = self._row(self._fixed[node.input[2]], node) * told.get("beta", 1.0)
        self._layer(weights.T if told.get("transB", 0) else weights, offsets)

    def _layer(self, weights: Array, offsets: Array) -> None:
        """Begin a layer; scales that wait behind an activation become part of it."""
        if weights.ndim != 2 or weights.shape[0] != self._width:
            raise NotDenseError(f"weights of the shape {weights.shape} do not fit {self._width} columns")
        if self._open:
            self.letters.append("i")
        before = np.broadcast_to(self._offset, self._width)
        offsets = np.broadcast_to(offsets, weights.shape[1]) + before @ weights
        weights = np.broadcast_to(self._scale, self._width)[:, None] * weights
        self._scale, self._offset = np.ones(1), np.zeros(1)
        self.layers.append((np.ascontiguousarray(weights), np.ascontiguousarray(offsets)))
        self._width, self._open = weights.shape[1], True

    def _plain(self, node: Any, name: str) -> None:
        """Take a sum, difference, product or quotient of the columns and fixed numbers."""
        first, second = node.input
        fixed = second if first == name else first
        if fixed not in self._fixed:
            raise NotDenseError(f"{_called(node)} needs fixed numbers on one side")
        row = self._row(self._fixed[fixed], node)
        kind, turned = node.op_type, first != name
        if kind == "Div" and turned:
            raise NotDenseError(f"{_called(node)} divides by the columns")
        if kind in ("Add", "Sub"):
            scale = np.full(1, -1.0 if kind == "Sub" and turned else 1.0)
            self._scaled(scale, -row if kind == "Sub" and not turned else row)
        elif kind == "Div" and not row.all():
            raise NotDenseError(f"{_called(node)} divides by 0")
        else:
            self._scaled(1.0 / row if kind == "Div" else row, np.zeros(1))

    def _scaled(self, scale: Array, offset: Array) -> None:
        """Take ``x * scale + offset`` into the last layer, a step before all layers, or what waits for the next."""
        if not self.layers:
            wide = np.broadcast_to(scale, self._width)
            if not wide.all():
                raise NotDenseError("a scale of 0 before the layers leaves nothing of a feature")
            self.steps.append(Scaler(np.broadcast_to(-offset, self._width) / wide, np.array(wide)))
        elif self._open:
            weights, offsets = self.layers[-1]
            self.layers[-1] = weights * scale, offsets * scale + offset
        else:
            self._scale, self._offset = self._scale * scale, self._offset * scale + offset

    def _scaler(self, node: Any) -> None:
        """Take ai.onnx.ml's Scaler, ``(x - offset) * scale``."""
        told = {a.name: np.asarray(a.floats, np.float64) for a in node.attribute}
        offset, scale = (
            self._row(told.get(key, np.full(1, other)), node) for key, other in (("offset", 0.0), ("scale", 1.0))
        )
        self._scaled(scale, -offset * scale)

    def _row(self, values: NDArray[Any], node: Any) -> Array:
        row = np.asarray(values, np.float64)
        flat = row.reshape(-1)
        if flat.size not in (1, self._width_behind(node)) or row.shape[:-1] != (1,) * (row.ndim - 1):
            raise NotDenseError(f"{_called(node)} has numbers of the shape {row.shape} for {self._width} columns")
        return flat

    def _width_behind(self, node: Any) -> int:
        """Give the columns behind a node: those of a Gemm are its weights'."""
        if node.op_type != "Gemm":
            return self._width
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        return int(self._fixed[node.input[1]].shape[0 if turned else 1])

    def _activate(self, letter: str, node: Any) -> None:
        if not self.layers:
            raise NotDenseError(f"{_called(node)} stands before the first layer")
        self._close(letter)

    def _close(self, letter: str = "i") -> None:
        """End the layer that is open; what waits behind an activation becomes a layer of its own."""
        if not self._open:
            if letter == "i" and not (self._scale != 1.0).any() and not self._offset.any():
                return
            self._layer(np.eye(self._width), np.zeros(1))
        self.letters.append(letter)
        self._open = False

    def _pass(self, node: Any) -> None:
        """Take a node that changes nothing of rows of columns; refuse one that would."""
        told = {a.name: a for a in node.attribute}
        if node.op_type == "Flatten" and ("axis" not in told or told["axis"].i == 1):
            return
        if node.op_type == "Cast" and told["to"].i in FLOATS:
            return
        if node.op_type == "Reshape" and node.input[1] in self._fixed:
            shape = self._fixed[node.input[1]].tolist()
            if len(shape) == 2 and shape[0] in (-1, 0) and shape[1] in (-1, self._width) and shape != [-1, -1]:
                return
        if node.op_type != "Identity":
            raise NotDenseError(f"{_called(node)} makes another shape or type of the rows")


def _called(node: Any) -> str:
    return f"the operator {node.op_type}{f' ({node.name})' if node.name else ''}"


def _foreign(node: Any) -> str:
    domain = f"{node.domain}." if node.domain else ""
    return (
        f"the operator {domain}{node.op_type}{f' ({node.name})' if node.name else ''} is none of a network of dense "
        f"layers, which are {', '.join(OPERATORS)}"
    )
