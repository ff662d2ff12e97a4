"""Small bodies that stand for gigabytes are refused, and neither the face nor an actor takes the memory."""

import resource

import pytest
from hostile_bodies import WHAT, bodies


@pytest.fixture(scope="module")
def made():
    return bodies()


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@pytest.mark.parametrize("number", range(len(WHAT)), ids=WHAT)
def test_a_body_that_stands_for_gigabytes_is_refused_without_the_memory(http, made, number):
    method, path, kind, body, right = made[number]
    before = peak_mb()
    answer = http.request(method, path, content=body, headers={"content-type": kind})
    assert answer.status_code in right, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert peak_mb() - before < 400.0
    assert http.get("/factor-models/hostile/status").status_code == 404
