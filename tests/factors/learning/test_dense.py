"""A network of dense layers is arrays alone, and whatever reads it from bytes refuses what is none."""

import itertools
import json

import numpy as np
import pytest

from factors.errors import FactorError
from factors.learning.dense import DenseNetwork, Places, Scaler


def layers(*wide, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        array
        for n_in, n_out in itertools.pairwise(wide)
        for array in (rng.standard_normal((n_in, n_out)), rng.standard_normal(n_out))
    )


@pytest.fixture
def network():
    places = Places(np.sort(np.random.default_rng(1).standard_normal((9, 3)), axis=0), np.linspace(0.0, 1.0, 9))
    return DenseNetwork((places, Scaler(np.full(3, 0.5), np.full(3, 4.0))), "rts", layers(3, 5, 4, 1))


def test_it_comes_back_from_its_bytes_to_the_bit(network):
    again = DenseNetwork.from_bytes(network.to_bytes())
    rows = np.random.default_rng(2).standard_normal((50, 3)) * 2
    np.testing.assert_array_equal(again.predict(rows), network.predict(rows))
    assert (again.shape, again.n_inputs, again.n_outputs) == ((3, 5, 4, 1), 3, 1)
    assert again.to_bytes() == network.to_bytes()


def test_drawn_inputs_reach_all_of_what_the_scalers_were_made_for(network):
    drawn = network.drawn(2000)
    places = network.steps[0](drawn)
    assert places.min() < 0.01
    assert places.max() > 0.99
    wide = DenseNetwork((Scaler(np.array([5.0, 1e6]), np.array([10.0, 1e-3])),), "i", layers(2, 1)).drawn(2000)
    np.testing.assert_allclose(wide.mean(axis=0), [5.0, 1e6], rtol=0.01)
    np.testing.assert_allclose(wide.std(axis=0), [0.1, 1e3], rtol=0.1)


@pytest.mark.parametrize(
    ("steps", "activations", "weights", "said"),
    [
        ((), "", (), "1 to 32 layers"),
        ((), "ri", layers(3, 2), "1 to 32 layers"),
        ((), "x", layers(3, 2), "activations are of"),
        ((), "ri", (*layers(3, 2), *layers(3, 1)), "do not fit"),
        ((), "i", (np.ones((2, 1)), np.ones(2)), "do not fit"),
        ((), "i", (np.ones((0, 1)), np.ones(1)), "do not fit"),
        ((Scaler(np.ones(2), np.ones(2)),), "i", layers(3, 1), "a step does not fit"),
        ((Places(np.ones((1, 3)), np.ones(1)),), "i", layers(3, 1), "a step does not fit"),
        ((Places(np.array([[1.0], [0.0]]), np.ones(2)),), "i", layers(1, 1), "a step does not fit"),
        ((), "i", (np.array([[np.nan]]), np.ones(1)), "no finite number"),
    ],
)
def test_what_does_not_fit_is_named(steps, activations, weights, said):
    with pytest.raises(FactorError, match=said):
        DenseNetwork(steps, activations, weights)


def test_bytes_that_are_no_network_are_refused_whatever_they_are(network):
    good = network.to_bytes()
    line, _, rest = good.partition(b"\n")
    head = json.loads(line)
    bad = [b"", b"\n", b"null\n", b"[]\n", b"{}\n", good[:-8], good + b"\0" * 8, b"\xff" + good]
    changes = (
        {"format": 2},
        {"steps": ["pickle", "scaler"]},
        {"steps": ["scaler"] * 9},
        {"activations": 7},
        {"shapes": [[-1]]},
        {"shapes": [["x"]]},
        {"shapes": [[10**30]]},
        {"shapes": None},
    )
    bad += [json.dumps({**head, **change}).encode() + b"\n" + rest for change in changes]
    for content in bad:
        with pytest.raises(FactorError):
            DenseNetwork.from_bytes(content)
