"""The tree of errors: codes are the contract, and an error crosses process borders whole."""

import logging
import pickle

import pytest

from contracts import errors
from contracts.errors import BY_CODE, EngineError, InternalError, InvalidInput, QueueFull, first_line
from contracts.unexpected import unexpected

CODES = {
    "internal": (500, False),
    "malformed_body": (400, False),
    "invalid_input": (422, False),
    "unknown_symbol": (422, False),
    "date_outside_model": (422, False),
    "ends_actors": (422, False),
    "unknown_model": (404, False),
    "unknown_portfolio": (404, False),
    "unknown_letter": (404, False),
    "unknown_job": (404, False),
    "unknown_watch": (404, False),
    "infeasible": (422, False),
    "unknown_estimator": (404, False),
    "not_acceptable": (406, False),
    "answer_gone": (410, True),
    "unknown_factor": (404, False),
    "unknown_operation": (404, False),
    "version_conflict": (409, True),
    "model_unreadable": (503, False),
    "unauthenticated": (401, False),
    "forbidden": (403, False),
    "foreign_origin": (403, False),
    "unknown_host": (421, False),
    "body_too_large": (413, False),
    "table_too_large": (413, False),
    "unsupported_media": (415, False),
    "wrong_engine": (421, True),
    "deadline_exceeded": (408, True),
    "caller_gone": (499, False),
    "queue_full": (429, True),
    "rate_exceeded": (429, True),
    "unavailable": (503, True),
}


def test_codes_and_what_they_mean_to_a_caller_are_kept():
    assert {code: (kind.status, kind.retryable) for code, kind in BY_CODE.items()} == CODES


@pytest.mark.parametrize("kind", BY_CODE.values())
def test_every_error_comes_back_from_its_document_and_from_a_pickle(kind):
    error = kind("what was wrong", field="a.b", rows=[1, 2], retry_after_s=0.5)
    for again in (EngineError.from_problem(error.to_problem("/here")), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert again.to_problem() == error.to_problem()
    assert error.to_problem("/here")["instance"] == "/here"


def test_of_many_rows_the_first_twenty_are_named():
    assert InvalidInput("bad", rows=range(1000)).to_problem()["rows"] == list(range(20))


def test_a_code_of_a_newer_peer_is_an_internal_error_with_its_words():
    error = EngineError.from_problem({"code": "of_tomorrow", "detail": "something new"})
    assert type(error) is InternalError
    assert error.detail == "something new"


def test_the_document_leaves_out_what_is_not_known():
    assert set(QueueFull("full").to_problem()) == {"type", "title", "status", "code", "detail", "retryable"}


def test_every_error_that_the_module_offers_is_in_the_tree():
    offered = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EngineError)}
    assert offered - {EngineError} == set(BY_CODE.values())


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n\n  one  \ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (KeyError(), "KeyError"),
        (OSError(" \n"), "OSError"),
        (QueueFull("full\nmore"), "full"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty_and_never_fails(error, line):
    assert first_line(error) == line


def test_a_defect_is_logged_whole_under_the_id_that_the_caller_gets(caplog):
    try:
        raise ZeroDivisionError("secret detail")
    except ZeroDivisionError as error:
        told = unexpected(error, logging.getLogger("here"))
    assert isinstance(told, InternalError)
    assert "secret" not in told.detail
    (record,) = caplog.records
    assert told.detail.split()[-1] in record.getMessage()
    assert record.exc_info[1].args == ("secret detail",)
