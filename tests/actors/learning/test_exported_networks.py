"""Files of a real exporter of ONNX are read, and compute what the library that trained the network predicts."""

import numpy as np
import pytest

from actors.learning.onnx_network import read_network
from tests.exported_networks import exported

pytestmark = pytest.mark.oracle
ACTIVATIONS, SCALERS, KINDS = 4, 5, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("exported"))


def test_every_network_of_scikit_learn_that_skl2onnx_writes_is_read_and_predicts_the_same(files):
    rows, cases = files
    assert len(cases) == ACTIVATIONS * SCALERS * KINDS
    for name, (content, right) in cases.items():
        network, maker = read_network(content)
        assert maker.startswith("skl2onnx"), name
        made = network.predict(rows)[:, 0]
        # A file of float has its weights and scalers in float32; one of double has scikit-learn's own numbers.
        digits = 2e-6 if name.endswith("float32") else 1e-12
        assert np.abs(made - right).max() <= digits * np.abs(right).max(), name
