"""Jobs: submitted, looked at, ended; and the versions of a model."""

from __future__ import annotations

from contracts import examples as ex
from contracts import job_requests as jr
from contracts import job_results as js
from contracts import requests as rq
from contracts import results as rs
from contracts.operations.row import Operation, Route, get, post
from contracts.operations.workloads import Workload
from contracts.work import Lane

ROWS = (
    Operation(
        "recompute",
        Workload.JOBS,
        jr.Recompute,
        rs.CalculationAnswer,
        "job",
        "write",
        Lane.HEAVY,
        post("/jobs/recompute"),
        ("toraniko.job_request.recompute",),
        timeout_s=60.0,
        example={"model_id": ex.MODEL, "what": ["returns", "covariance"]},
    ),
    Operation(
        "list_jobs",
        Workload.JOBS,
        rq.Empty,
        js.JobList,
        "job",
        routes=get("/jobs"),
        subjects=("toraniko.job_request.list_jobs",),
        timeout_s=30.0,
        summary="List all jobs with how far they are, the newest first.",
    ),
    Operation(
        "job_status",
        Workload.JOBS,
        jr.JobRef,
        js.JobPage,
        "job",
        routes=get("/jobs/{job_id}"),
        subjects=("toraniko.job_request.job_status",),
        timeout_s=30.0,
        example={"job_id": ex.JOB},
    ),
    Operation(
        "job_logs",
        Workload.JOBS,
        jr.JobLogs,
        js.JobLog,
        "job",
        routes=get("/jobs/{job_id}/logs"),
        subjects=("toraniko.job_request.job_logs",),
        timeout_s=30.0,
        example={"job_id": ex.JOB},
    ),
    Operation(
        "cancel_job",
        Workload.JOBS,
        jr.CancelJob,
        rs.CalculationAnswer,
        "job",
        "write",
        Lane.HEAVY,
        (Route("DELETE", "/jobs/{job_id}"),),
        ("toraniko.job_request.cancel_job",),
        ("factor.batch.{job_id}",),
        "FACTOR_BATCH",
        timeout_s=60.0,
        example={"job_id": ex.JOB},
        written="job_id",
    ),
    Operation(
        "model_versions",
        Workload.FACTOR_EXPOSURE_ANALYSIS,
        jr.ModelVersions,
        js.VersionList,
        "factor_model",
        routes=get("/factor-models/{model_id}/versions"),
        subjects=("toraniko.model_request.versions",),
        example={"model_id": ex.MODEL},
    ),
    Operation(
        "restore_version",
        Workload.FACTOR_MODEL_CREATION,
        jr.RestoreVersion,
        rs.ModelAnswer,
        "factor_model",
        "write",
        Lane.HEAVY,
        post("/factor-model/{model_id}/restore"),
        ("toraniko.model_request.restore",),
        ("factor.model_created.{model_id}",),
        "FACTOR_MODEL_UPDATED",
        timeout_s=120.0,
        example={"model_id": ex.MODEL},
    ),
)
