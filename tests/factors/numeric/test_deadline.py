"""A computation whose deadline passed ends between two blocks, and blocks change no bit."""

import time

import numpy as np
import pytest

from factors.factor_model.model import FactorModel
from factors.numeric import deadline
from factors.numeric.threads import spread
from factors.sample.market import sample_market


def test_without_a_deadline_a_part_is_one_call():
    assert spread(lambda a, b: (a, b), 100, 1) == [(0, 100)]
    assert spread(lambda a, b: (a, b), 100, 2) == [(0, 50), (50, 100)]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("pause_s", [0.0, 0.003])
def test_under_a_deadline_blocks_cover_the_range_once_and_in_order(threads, pause_s):
    def work(begin, end):
        time.sleep(pause_s)
        return range(begin, end)

    with deadline.until(time.time() + 60.0):
        blocks = spread(work, 1000, threads, 8)
    assert [i for block in blocks for i in block] == list(range(1000))
    assert len(blocks) > threads
    assert all(len(block) >= 8 for block in blocks)


def test_behind_the_deadline_no_further_block_begins():
    done = []

    def work(begin, end):
        done.append((begin, end))
        time.sleep(0.02)

    with pytest.raises(deadline.DeadlinePassed), deadline.until(time.time() + 0.03):
        spread(work, 10_000, 1)
    assert 1 <= len(done) < 16


def test_a_deadline_holds_in_the_threads_that_parts_are_shared_among():
    with pytest.raises(deadline.DeadlinePassed), deadline.until(time.time() - 1.0):
        spread(lambda _a, _b: None, 2, 2)


def test_a_deadline_holds_for_its_block_alone():
    with deadline.until(time.time() - 1.0), deadline.until(None):
        deadline.check()
    deadline.check()
    assert deadline.current() is None


@pytest.fixture(scope="module")
def panel():
    return sample_market(n_assets=80, n_days=420).panel


def test_a_fit_under_a_deadline_gives_the_same_bits(panel):
    whole = FactorModel().fit(panel)
    with deadline.until(time.time() + 600.0):
        cut = FactorModel().fit(panel)
    for name, values in whole.state().day_asset.items():
        np.testing.assert_array_equal(values, cut.state().day_asset[name], err_msg=name)
    np.testing.assert_array_equal(whole.factor_covariance_, cut.factor_covariance_)
    np.testing.assert_array_equal(whole.specific_variance_, cut.specific_variance_)


@pytest.mark.parametrize(
    "stage", ["estimate_style_scores", "estimate_factor_returns", "estimate_covariance", "estimate_specific_risk"]
)
def test_every_stage_of_a_fit_ends_at_the_deadline(panel, stage):
    model = FactorModel().fit(panel)
    with pytest.raises(deadline.DeadlinePassed), deadline.until(time.time() - 1.0):
        getattr(model, stage)()
