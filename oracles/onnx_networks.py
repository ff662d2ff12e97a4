"""Train small networks with scikit-learn and write them as ONNX by skl2onnx, as a caller of the engine would.

    python onnx_networks.py FOLDER [NAME ...]        (in the oracle environment)

For each activation, scaler in front and type of the input there is a file NAME.onnx, such as
``relu_standard_float32.onnx``; with names, for those alone. ``cases.npz`` holds ``rows``
[n_rows, n_features] and under each name what scikit-learn predicts for them.
"""

import itertools
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from skl2onnx import to_onnx

ACTIVATIONS = ("relu", "tanh", "logistic", "identity")
SCALERS = {
    "none": None,
    "standard": StandardScaler(),
    "minmax": MinMaxScaler(),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
}


def main(folder: Path, wanted: list[str]) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 4)) * [1.0, 10.0, 0.1, 3.0] + [0.0, 5.0, -1.0, 2.0]
    target = np.tanh(rows[:, 0]) + 0.1 * rows[:, 1] * (rows[:, 2] > -1.0)
    answers = {"rows": rows}
    for activation, (scaler, made), kind in itertools.product(ACTIVATIONS, SCALERS.items(), (np.float32, np.float64)):
        name = f"{activation}_{scaler}_{np.dtype(kind)}"
        if wanted and name not in wanted:
            continue
        network = MLPRegressor(hidden_layer_sizes=(8, 5), activation=activation, max_iter=30, random_state=0)
        estimator = network if made is None else make_pipeline(made, network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(rows, target)
        (folder / f"{name}.onnx").write_bytes(to_onnx(estimator, rows[:1].astype(kind)).SerializeToString())
        answers[name] = estimator.predict(rows)
    np.savez(folder / "cases.npz", **answers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
