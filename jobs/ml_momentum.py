"""``python -m jobs.ml_momentum --model M``: train a small network on momentum, volatility and volume, and judge it.

Trained walk-forward on a model's own history, with purged and embargoed dates, and held against plain momentum on the
dates that it had not seen. Nothing changes by it: with ``--register`` the network that is trained on everything becomes
an estimator, which ``POST /ml/predict`` and ``ml.factor_features.predict`` then ask of the universe's newest date.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from actors.learning.dataset import refuse_heavy
from actors.learning.features import feature_values, split_names
from actors.learning.keeper import Keeper
from actors.library.formulas import Formulas
from actors.library.values import window_values
from actors.reading.panels import whole_panel
from contracts.errors import EngineError, InvalidInput, UnknownEstimator, first_line
from contracts.settings import Settings, settings
from contracts.work import new_id
from factors.errors import FactorError
from factors.learning import Judged, WalkForward, WalkForwardSettings, judge, walk_forward
from factors.library.definitions.fields import computable, library_fields
from jobs.plan import formulas_of
from store import ModelStore, Version
from store.estimator_store import Estimator, EstimatorStore
from store.place import store_place

NAME = "ml_momentum"
FEATURES = (
    "jkp_ret_1_0", "jkp_ret_3_1", "jkp_ret_6_1", "jkp_ret_9_1", "jkp_ret_12_1", "jkp_ret_12_7", "jkp_rvol_21d",
    "barra_dastd", "jkp_turnover_126d", "jkp_dolvol_126d",
)  # fmt: skip
"""Momentum of several horizons, volatility and volume; those that the model's data cannot compute are left out."""
PLAIN = "jkp_ret_12_1"
FEATURES_LEAST = 3
DEFAULTS = WalkForwardSettings()

Say = Callable[[str], None]


def features_of(version: Version, formulas: Formulas, asked: Sequence[str]) -> list[str]:
    """Give the features of the network by name: those asked for, or of the usual ones those that can be computed.

    Raises
    ------
    InvalidInput
        One that was asked for cannot be computed, or of the usual ones too few can.
    UnknownFactor
        One that was asked for does not exist.
    """
    meta = version.manifest.meta
    available = library_fields(whole_panel(version, rows=1)).available
    can = set(meta["factor_names"]) | set(computable(formulas.library, available)[0])
    if asked:
        names = split_names(version, asked, formulas.resolve)
        wrong = [name for name in names if name not in can]
        if wrong:
            raise InvalidInput(f"the model's data cannot compute {', '.join(wrong)}", field="features", rows=wrong)
        return names
    names = [name for name in FEATURES if name in can]
    if len(names) < FEATURES_LEAST:
        raise InvalidInput(
            f"of {', '.join(FEATURES)} the model's data can compute {', '.join(names) or 'none'}; at least "
            f"{FEATURES_LEAST} make a network worth training: name others with --features",
            field="features",
        )
    return names


def train(
    version: Version, current: Settings, names: list[str], how: WalkForwardSettings, trials: int, say: Say
) -> tuple[WalkForward, Judged, dict[str, Any]]:
    """Train on a model's history and judge what was predicted.

    Returns
    -------
    (what was made, how it compares with plain momentum, the report)
    """
    days = slice(0, version.manifest.n_dates)
    every = [*names, *([] if PLAIN in names else [PLAIN])]
    refuse_heavy(version, days, every)
    formulas = formulas_of(current)

    def window(ids: tuple[str, ...], span: slice) -> NDArray[np.float64]:
        n_days = span.stop - span.start
        return window_values(formulas, ids, version, span.stop - 1, n_days, current.library_threads)[0]

    say(f"{version.manifest.model_id}: {len(names)} features of {days.stop} dates and {len(version.symbols)} names")
    panels = feature_values(version, every, days, window)
    returns = np.asarray(version.day_asset("fields/returns", days), dtype=np.float64)
    made = walk_forward(panels[: len(names)], returns, how, lambda done, of: say(f"trained {done} of {of} times"))
    found = judge(made.scores, panels[every.index(PLAIN)], returns, how.horizon, trials)
    dates = version.dates
    report = {
        "model_id": version.manifest.model_id,
        "model_version": version.manifest.version,
        "features": names,
        "settings": asdict(how),
        "trained": [
            {"through": str(dates[training.last - 1]), "rows": training.n_rows,
             "predicts": [str(dates[training.predicts.start]), str(dates[training.predicts.stop - 1])]}
            for training in made.trainings
        ],
        "plain": PLAIN,
        "judged": asdict(found),
    }  # fmt: skip
    return made, found, report


def said(found: Judged) -> str:
    """Say in a sentence what the network is worth; a difference that may be chance is called so."""
    low, high = found.interval
    chance = "" if found.p_adjusted < 0.05 else "; that may be chance"
    return (
        f"rank IC over {found.horizon} days {found.own.mean:.4f}, plain momentum {found.plain.mean:.4f}, apart "
        f"{found.difference:.4f} (95 %: {low:.4f} to {high:.4f}), t {found.t_statistic:.2f}, "
        f"p {found.p_adjusted:.3f} after {found.trials} trials, {found.own.n_dates} dates{chance}"
    )


def register(
    made: WalkForward, report: dict[str, Any], found: Judged, current: Settings, name: str, request_id: str
) -> Estimator:
    """Keep the network that was trained on everything as an estimator.

    Raises
    ------
    InvalidInput
        It cannot be loaded again in a process of its own.
    """
    import skops.io as sio

    estimators = EstimatorStore(store_place(current))
    about = f"{NAME} of {report['model_id']} version {report['model_version']}: {said(found)}"
    with contextlib.suppress(UnknownEstimator):
        before = estimators.get(name)
        # skops never writes the same bytes again, so a repeat is known by its id and by what was measured.
        if before.requests.get(request_id) == before.version and before.description == about:
            return before
    content = sio.dumps(made.estimator)
    trusted = sio.get_untrusted_types(data=content)
    tried, network = Keeper().try_out(content, trusted, report["features"])
    kept = Estimator(name, features=tuple(report["features"]), trusted=tuple(trusted), description=about, **tried)
    return estimators.put(kept, content, request_id, network)


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    made = argparse.ArgumentParser(prog=f"jobs.{NAME}", description=(__doc__ or "").splitlines()[0])
    made.add_argument("--model", required=True, help="whose history trains")
    made.add_argument("--features", default="", metavar="A,B,...", help="factors of the model or the library")
    made.add_argument("--horizon", type=int, default=DEFAULTS.horizon, help="days of the return that is predicted")
    made.add_argument("--first", type=int, default=DEFAULTS.first, help="dates before the first prediction")
    made.add_argument("--every", type=int, default=DEFAULTS.every, help="dates between two trainings")
    made.add_argument("--embargo", type=int, default=DEFAULTS.embargo, help="dates left out before each prediction")
    made.add_argument("--hidden", default=",".join(map(str, DEFAULTS.hidden)), metavar="N,...", help="units by layer")
    made.add_argument("--epochs", type=int, default=DEFAULTS.epochs)
    made.add_argument("--seed", type=int, default=DEFAULTS.seed)
    made.add_argument("--trials", type=int, default=1, help="networks that were tried, this one among them")
    made.add_argument("--register", nargs="?", const=NAME, metavar="ID", help=f"as an estimator; default: {NAME}")
    made.add_argument("--request-id", default=None, help="repeat it to register safely once")
    return made


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 0 when all is done."""
    made = parser()
    options = made.parse_args(arguments)
    current = settings()
    try:
        hidden = tuple(int(units) for units in options.hidden.split(","))
    except ValueError:
        made.error("--hidden must be whole numbers, as in 16,8")
    if options.trials < 1:
        made.error("--trials must be at least 1")
    try:
        how = WalkForwardSettings(
            options.horizon, options.first, options.every, options.embargo, hidden, epochs=options.epochs,
            seed=options.seed,
        )  # fmt: skip
        version = ModelStore(store_place(current), current.keep_versions).head(options.model)
        names = features_of(version, formulas_of(current), [name for name in options.features.split(",") if name])
        trained, found, report = train(version, current, names, how, options.trials, _say)
        if options.register:
            kept = register(trained, report, found, current, options.register, options.request_id or new_id())
            report["registered"] = {"estimator_id": kept.estimator_id, "estimator_version": kept.version}
    except (EngineError, FactorError, OSError) as error:
        field = getattr(error, "field", None)
        _say(f"failed: {first_line(error)}{f' (field: {field})' if field else ''}")
        return 1
    _say(said(found))
    _say(orjson.dumps(report).decode())
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
