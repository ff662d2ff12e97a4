"""A tear sheet as one HTML page with its pictures in it, readable without a network."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factors.analytics.tear_sheet import TearSheet

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1.5rem; color: #1b1f24; }
h1 { margin-bottom: 0; } .soft { color: #59636e; } figure { margin: 1rem 0; } figcaption { font-weight: 600; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #d5dae0; text-align: right; }
th:first-child, td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; } svg text { font-size: 11px; fill: #59636e; }
"""
NOTE = """
<p class=soft>A date is judged by the days after it alone; the last dates, whose returns are not known yet,
are left out (purged). t-statistics have Newey-West errors for overlapping returns. p after trials is Sidak's;
the deflated Sharpe ratio is the probability of skill after so many trials (Bailey and Lopez de Prado 2014).</p>
"""
WIDTH, HEIGHT, PAD = 640, 180, 28


def page(sheet: "TearSheet") -> str:
    """Give the page."""
    figures = sheet.figures
    trials = figures["settings"]["trials"]
    title = html.escape(sheet.name)
    head = (
        f"<h1>{title}</h1><p class=soft>{figures['first_date']} to {figures['last_date']}, {figures['n_dates']} dates, "
        f"{figures['periods_per_year']:g} a year; "
        f"{figures['n_assets']} names, {_text(figures['coverage'], '.1%')} of them scored on an average date; "
        f"{trials} {'factor' if trials == 1 else 'factors'} tried.</p>"
    )
    body = head + _information(figures) + _quantiles(figures["horizons"]) + _turnover(figures["turnover"])
    body += _correlated(figures["correlations"]) + NOTE
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
        f"<body>{body}</body></html>\n"
    )


IC_COLUMNS = {
    "mean": ".4f",
    "deviation": ".4f",
    "ratio": ".3f",
    "t_statistic": ".2f",
    "share_positive": ".1%",
    "p_value": ".3g",
    "p_value_after_trials": ".3g",
}
SPREAD_COLUMNS = {"mean": ".3%", "t_statistic": ".2f", "annual_ratio": ".2f", "deflated_sharpe": ".3f"}
CORRELATION_COLUMNS = {"mean_rank": ".3f", "n_dates": "d"}
TURNOVER_COLUMNS = {"top": ".1%", "bottom": ".1%", "rank_autocorrelation": ".3f"}


def _information(figures: dict[str, Any]) -> str:
    return (
        "<h2>Information coefficient</h2>"
        + _table("days ahead", IC_COLUMNS, [(row["days"], row["ic"]) for row in figures["horizons"]])
        + _bars("Mean IC by month, one day ahead", *_series(figures["ic_by_month"], "month", "mean_ic"))
        + _bars("Mean IC of the single day so far ahead", *_series(figures["decay"], "days_ahead", "mean_ic"))
    )


def _quantiles(horizons: Sequence[dict[str, Any]]) -> str:
    pictures = [
        _bars(
            f"Mean return over {row['days']} days by quantile, less the mean of all, in basis points",
            [str(i + 1) for i in range(len(row["quantile_returns"]))],
            [None if x is None else 1e4 * x for x in row["quantile_returns"]],
        )
        for row in horizons
    ]
    spreads = _table("days ahead", SPREAD_COLUMNS, [(row["days"], row["spread"]) for row in horizons])
    return f"<h2>Quantiles</h2>{''.join(pictures)}<h3>Highest less lowest</h3>{spreads}"


def _turnover(rows: Sequence[dict[str, Any]]) -> str:
    return "<h2>Turnover</h2>" + _table("days", TURNOVER_COLUMNS, [(row["days"], row) for row in rows])


def _correlated(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    table = _table("factor", CORRELATION_COLUMNS, [(html.escape(row["factor"]), row) for row in rows])
    return f"<h2>Rank correlation with other factors</h2>{table}"


def _series(rows: Sequence[dict[str, Any]], label: str, value: str) -> tuple[list[str], list[float | None]]:
    return [str(row[label]) for row in rows], [row[value] for row in rows]


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(first: str, columns: dict[str, str], rows: Sequence[tuple[Any, dict[str, Any]]]) -> str:
    """Give a table: a label and, of each row, the columns in their formats."""
    top = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in (first, *columns))
    body = "".join(
        f"<tr><td>{label}</td>{''.join(f'<td>{_text(row[name], form)}</td>' for name, form in columns.items())}</tr>"
        for label, row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _bars(caption: str, labels: Sequence[str], values: Sequence[float | None]) -> str:
    """Draw bars about zero, a gap where there is no value; each says its figure when pointed at."""
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    span = (high - low) or 1.0
    step = (WIDTH - 2 * PAD) / max(len(values), 1)

    def y(value: float) -> float:
        return PAD + (high - value) / span * (HEIGHT - 2 * PAD)

    drawn = []
    every = max(1, len(labels) // 12)
    for i, (label, value) in enumerate(zip(labels, values, strict=True)):
        left = PAD + i * step
        if value is not None:
            top, bottom = sorted((y(value), y(0.0)))
            color = "#2b6cb0" if value >= 0.0 else "#c05621"
            drawn.append(
                f'<rect x="{left + step * 0.1:.1f}" y="{top:.1f}" width="{step * 0.8:.1f}" '
                f'height="{bottom - top:.1f}" fill="{color}"><title>{html.escape(label)}: {value:.4g}</title></rect>'
            )
        if i % every == 0:
            drawn.append(
                f'<text x="{left + step / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(label)}</text>'
            )
    axis = f'<line x1="{PAD}" x2="{WIDTH - PAD}" y1="{y(0.0):.1f}" y2="{y(0.0):.1f}" stroke="#59636e"/>'
    ends = f'<text x="2" y="{y(high) + 4:.1f}">{high:.3g}</text><text x="2" y="{y(low) + 4:.1f}">{low:.3g}</text>'
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{axis}{ends}{"".join(drawn)}</svg>'
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{picture}</figure>"
