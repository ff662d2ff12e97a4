"""Factor returns of a model, or of four posted frames."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from actors.analytics.returns import FactorFigures
from actors.reading.confidence import confidence_score
from actors.reading.features import in_table, intake_of
from actors.reading.grid import check_posted
from actors.reading.posted import long_frame, warnings_of
from actors.reading.slices import Slices, by_name, factor_returns_of, rows_between
from actors.runtime.device_user import DeviceUser
from contracts import requests as rq
from contracts.answers import Calculation
from contracts.errors import InvalidInput
from contracts.work import Device
from factors.errors import FactorError
from factors.panel.intake import DEFAULT
from factors.panel.panel import Panel

DEFAULT_DAYS = 252
GRAMS_TOLERANCE = 1e-4
"""Of a matrix: the returns that follow are refined in float64 and held to far less than the operation's tolerance."""
FRAMES = ("returns_df", "market_cap_df", "sector_df", "style_df")
REQUIRED = {"returns_df": ("returns",), "market_cap_df": ("market_cap",)}


class FactorReturnsEstimation(FactorFigures, DeviceUser):
    """Reads the stored factor returns; posted frames go through the two-stage regression of `factors.model`."""

    def prepare(self) -> None:
        """Open the store; what posted frames need (Polars, the regression) is loaded when some are posted."""
        self.slices = Slices()
        self.find_devices("factor_returns_estimation")

    def factor_returns(self, request: rq.FactorReturns) -> Calculation:
        """Factor returns by date, simple daily returns."""
        return self._posted(request) if request.returns_df is not None else self._of_model(request)

    def _of_model(self, request: rq.FactorReturns) -> Calculation:
        version = self.slices.head(request.model_id)
        manifest = version.manifest
        if request.start_date is None and request.end_date is None:
            days = slice(max(manifest.n_dates - DEFAULT_DAYS, 0), manifest.n_dates)
        else:
            days = rows_between(version, request.start_date, request.end_date, version.manifest.model_id)
        names = list(manifest.meta["factor_names"])
        returns = factor_returns_of(version, days)
        last = slice(days.stop - 1, days.stop)
        errors = np.asarray(version.day("standard_errors", last))[0]
        n_obs = int(version.day("n_obs", last)[0])
        t_statistics = np.divide(returns[-1], errors, out=np.full(len(names), np.nan), where=errors > 0.0)
        return Calculation(
            values=by_name(names, returns[-1]),
            message=f"factor returns of {len(names)} factors over {len(returns)} days",
            confidence_score=confidence_score(n_obs / max(manifest.n_assets, 1), n_obs, len(names)),
            model_version=manifest.version,
            details={
                "date": str(version.date(days.stop - 1)),
                "t_statistics": by_name(names, t_statistics),
                "r2": float(version.day("r2", last)[0]),
                "history": _history(version.dates_of(days), names, returns),
            },
        )

    def _posted(self, request: rq.FactorReturns) -> Calculation:
        from factors.model import estimate_factor_returns

        frames = {name: getattr(request, name) for name in FRAMES}
        missing = [name for name, frame in frames.items() if frame is None]
        if missing:
            raise InvalidInput(f"all four frames must be given; missing: {', '.join(missing)}", field=missing[0])
        intake = intake_of(request, DEFAULT)
        returns, caps, sectors, styles = (
            long_frame(frame, name, intake, REQUIRED.get(name, ())) for name, frame in frames.items()
        )
        # The regression's arrays are of the first table's dates and names, one for each column of all four.
        n_columns = sum(len(frame.columns) - 2 for frame in (returns, caps, sectors, styles))
        check_posted(returns, FRAMES[0], n_fields=n_columns)
        market = returns.join(caps, on=["date", "symbol"], how="left").select(
            "date", "symbol", "asset_returns", "market_cap"
        )
        warnings = []
        if intake.policy != "off":
            try:
                panel = Panel.from_frame(market, intake=replace(DEFAULT, policy=intake.policy))
            except FactorError as error:
                raise in_table(FRAMES[0], error, intake) from None
            warnings = warnings_of(panel, intake)
        ran: list[Device] = []
        # Without another device the styles are fitted with the sectors, in one pass over the names.
        elsewhere = len(self.devices.candidates("grams", GRAMS_TOLERANCE)) > 1
        try:
            estimated, residuals = estimate_factor_returns(
                returns,
                caps,
                sectors,
                styles,
                winsor_factor=request.winsor_factor,
                residualize_styles=request.residualize_styles,
                grams=partial(self._grams, ran) if elsewhere else None,
            )
        except FactorError:
            raise
        except (TypeError, ValueError) as error:
            # toraniko's functions, and so ours, speak in these.
            raise InvalidInput(str(error), field="returns_df") from None
        estimated = estimated.sort("date")
        names = [name for name in estimated.columns if name != "date"]
        values = estimated.select(names).to_numpy()
        dates = estimated["date"].to_numpy()
        n_rows = residuals.height
        return Calculation(
            values=by_name(names, values[-1]),
            message=f"factor returns of {len(names)} factors over {len(values)} days from posted frames",
            confidence_score=confidence_score(n_rows / returns.height, n_rows / max(len(values), 1), len(names)),
            details={
                "date": str(dates[-1])[:10],
                "history": _history(dates, names, values),
                "warnings": warnings,
            },
            device=max(ran, key=ran.count, default=Device.CPU),
        )

    def _grams(self, ran: list[Device], *given: np.ndarray) -> Any:
        """Compute Gram matrices where that is fastest, and note on what."""
        made, device = self.devices.run("grams", given[0].shape, GRAMS_TOLERANCE, lambda: given)
        ran.append(device)
        return made


def _history(dates: np.ndarray, names: list[str], returns: np.ndarray) -> dict[str, Any]:
    days = np.datetime_as_string(dates, unit="D").tolist()
    rows = [[None if v != v else v for v in row] for row in returns.tolist()]
    return {"columns": ["date", *names], "data": [[day, *row] for day, row in zip(days, rows, strict=True)]}
