"""The running day: watches, the market that a model follows, and how far a model's day is."""

from __future__ import annotations

from contracts import examples as ex
from contracts import live_requests as lq
from contracts import results as rs
from contracts.operations.row import Operation, Route, get
from contracts.operations.workloads import Workload
from contracts.work import Lane

WATCH = "example-watch"

ROWS = (
    Operation(
        "put_watch",
        Workload.FACTOR_LIBRARY,
        lq.PutWatch,
        rs.CalculationAnswer,
        "watch",
        "write",
        Lane.HEAVY,
        (Route("PUT", "/watches/{watch_id}"),),
        ("ml.factor_features.put_watch",),
        timeout_s=60.0,
        example={"watch_id": WATCH, "formulas": {"move": "returns"}, "symbols": list(ex.SYMBOLS)},
        written="watch_id",
    ),
    Operation(
        "list_watches",
        Workload.FACTOR_LIBRARY,
        lq.ListWatches,
        rs.WatchList,
        "watch",
        routes=get("/watches"),
        subjects=("ml.factor_features.list_watches",),
    ),
    Operation(
        "get_watch",
        Workload.FACTOR_LIBRARY,
        lq.WatchRef,
        rs.WatchPage,
        "watch",
        routes=get("/watches/{watch_id}"),
        subjects=("ml.factor_features.get_watch",),
        example={"watch_id": WATCH},
    ),
    Operation(
        "delete_watch",
        Workload.FACTOR_LIBRARY,
        lq.DeleteWatch,
        rs.CalculationAnswer,
        "watch",
        "write",
        Lane.HEAVY,
        (Route("DELETE", "/watches/{watch_id}"),),
        ("ml.factor_features.delete_watch",),
        timeout_s=60.0,
        example={"watch_id": WATCH},
        written="watch_id",
    ),
    Operation(
        "follow_market",
        Workload.FACTOR_LIBRARY,
        lq.FollowMarket,
        rs.CalculationAnswer,
        "live",
        "write",
        Lane.HEAVY,
        (Route("PUT", "/running-day/{model_id}"),),
        ("ml.factor_features.follow_market",),
        timeout_s=60.0,
        example={"model_id": ex.MODEL, "market": "main"},
    ),
    Operation(
        "live_status",
        Workload.FACTOR_LIBRARY,
        lq.LiveStatus,
        rs.LivePage,
        "live",
        routes=get("/running-day"),
        subjects=("ml.factor_features.live_status",),
    ),
)
