"""What an operator sees and does on the page: jobs, dead letters, versions of a model."""

import re

import pytest

from contracts import frames
from jobs.told import progress_path


@pytest.fixture
def writer(tab):
    """A tab whose reader ticked that he may change things."""
    tab.open("overview")
    tab.panel("Actors").first.wait_for()
    tab.page.evaluate("sessionStorage.setItem('factor-engine-writes', 'yes')")
    tab.page.reload()
    tab.page.get_by_role("button", name="Access: may change").wait_for()
    return tab


@pytest.fixture
def job(http, services, ray_jobs):
    """A job under way that has told how far it is."""
    import json
    import time

    made = http.post("/jobs/recompute", json={"model_id": "m", "what": ["returns", "scores"]}).json()
    job_id = made["calculation_result"]["factor_values"]["job_id"]
    told = {
        "job_id": job_id, "submission_id": f"{job_id}.1", "state": "running", "stage": "computing", "percent": 40.0,
        "eta_s": 30.0, "rows": 12_345, "rows_per_s": 678.0, "started_at": time.time() + 1.0, "at": 0.0, "pid": 0,
        "model_id": "m", "message": "", "out": "/somewhere", "what": ["scores", "returns"], "table": {},
    }  # fmt: skip
    path = progress_path(services.settings.store_path, job_id)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(told))
    yield job_id
    path.unlink()
    for name in [name for name in ray_jobs.jobs if name.startswith(job_id)]:
        del ray_jobs.jobs[name]


def test_a_job_shows_how_far_it_is_what_it_prints_and_can_be_ended(writer, job, ray_jobs):
    page = writer.open("operations")
    jobs = writer.panel("Jobs")
    row = jobs.locator("tbody tr").filter(has_text=job)
    row.get_by_text("running").wait_for()
    row.get_by_text("computing").wait_for()
    row.get_by_text("12,345").wait_for()
    assert row.locator("progress").get_attribute("value") == "40"
    row.click()
    jobs.locator(f'pre[data-log="{job}"]').filter(has_text=f"two of {job}.1").wait_for()
    row.get_by_role("button", name=f"End {job}").click()
    row.get_by_text("stopped").wait_for()
    assert ray_jobs.jobs[f"{job}.1"].status == "STOPPED"
    assert page.get_by_role("button", name=f"End {job}").count() == 0


def test_the_overview_counts_jobs_and_says_how_far_they_are(tab, job):
    tab.open("overview")
    jobs = tab.panel("Jobs")
    row = jobs.locator("dl.figures div").filter(has_text=job)
    row.get_by_text("40 %").wait_for()
    assert re.search(r"asked (now|\d+ s ago)", jobs.inner_text())
    jobs.get_by_role("link").click()
    tab.page.locator("nav a[aria-current=page]", has_text="Operations").wait_for()


def test_who_may_only_read_sees_jobs_and_ends_none(tab, job):
    tab.open("operations")
    tab.panel("Jobs").locator("tbody tr").filter(has_text=job).wait_for()
    assert tab.page.get_by_role("button", name=re.compile("^End ")).count() == 0
    assert tab.page.get_by_role("button", name=re.compile("^Back to ")).count() == 0


def test_a_dead_letter_is_read_and_sent_again(writer, services, monkeypatch):
    letter = {
        "id": 7, "subject": "market_data.bar.A", "code": "invalid_input", "detail": "no close", "deliveries": 3,
        "came": "2024-01-02T14:30:00+00:00", "time": "2024-01-02T14:30:01+00:00", "bytes": 12,
    }  # fmt: skip
    kept = [letter]

    async def ask(what, arguments):
        if what == "dead_letters":
            return {"dead_letters": list(kept), "count": len(kept), "last": 7}
        if what == "dead_letter":
            return {**letter, "headers": {}, "body": "the body of seven"}
        assert (what, arguments) == ("resend", {"number": 7})
        kept.clear()
        return {"id": 7, "subject": letter["subject"], "stream": "MARKET_DATA", "sequence": 9}

    monkeypatch.setattr(services.bridge, "ask", ask)
    writer.open("operations")
    letters = writer.panel("Dead letters")
    row = letters.locator("tbody tr").filter(has_text="no close")
    row.get_by_text("market_data.bar.A").wait_for()
    row.click()
    letters.get_by_text("the body of seven").wait_for()
    row.get_by_role("button", name="Send 7 again").click()
    letters.get_by_text("Every durable message could be computed.").wait_for()


def test_versions_say_what_changed_and_one_goes_back(writer, http, sample):
    body = frames.encode(sample)
    headers = {"content-type": frames.ARROW_STREAM}
    assert http.put("/factor-model/versions/data", content=body, headers=headers).is_success
    assert http.post("/factor-model/reduce-universe", json={"model_id": "versions", "top_n": 30}).is_success
    try:
        writer.open("operations?model=versions")
        model = writer.panel("Model versions")
        newest = model.locator("tbody tr").filter(has_text="reduce universe")
        newest.get_by_text(re.compile(r"cleaning\.top_n: .* to 30")).wait_for()
        model.get_by_role("button", name="Back to 1", exact=True).click()
        model.get_by_text("Make a new version of versions that is what version 1 was?").wait_for()
        model.locator("p.warn").get_by_role("button", name="Back to 1").click()
        model.locator("tbody tr").filter(has_text="restore version").wait_for()
        status = http.get("/factor-models/versions/status").json()
        assert (status["model_version"], status["operation"]) == (3, "restore_version")
        assert status["recipe"]["top_n"] != 30
    finally:
        http.delete("/factor-model/versions")
