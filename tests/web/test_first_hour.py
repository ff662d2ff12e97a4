"""The first hour of a quant over HTTP, on the application in process."""

import io
import json

import first_hour
import pytest
from fixtures_toraniko import DATA

from contracts.frames import PARQUET

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the real file is not beside the project")


@pytest.fixture(scope="module")
def frame():
    return first_hour.faulty()


@pytest.fixture(scope="module")
def ask(http, frame):
    sink = io.BytesIO()
    frame.write_parquet(sink)
    made = http.put("/factor-model/real/data", content=sink.getvalue(), headers={"content-type": PARQUET})
    assert made.status_code == 200, made.text

    def ask(path, **body):
        sent = json.dumps({"model_id": "real", **body}, default=str)
        answer = http.post(path, content=sent, headers={"content-type": "application/json"})
        return answer.status_code, answer.json()

    return ask


@pytest.mark.parametrize("row", first_hour.ROWS, ids=lambda row: row.__name__)
def test_what_a_quant_meets_in_the_first_hour_is_right(ask, frame, row):
    row(ask, frame)
