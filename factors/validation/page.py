"""The validation report as one HTML page, readable without a network."""

import html
from collections.abc import Callable
from typing import Any

from factors.validation.backtest import FAMILIES

STYLE = """
:root { --ink: #1b1f24; --soft: #59636e; --line: #d5dae0; --good: #dff3e4; --near: #fff3cd; --bad: #fbdcdc; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1.5rem; }
body { color: var(--ink); }
h1 { margin-bottom: 0; } h2 { margin: 2.2rem 0 0.4rem; } .soft, figcaption { color: var(--soft); }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; }
th, td { padding: 0.25rem 0.8rem; border-bottom: 1px solid var(--line); }
th, td { text-align: right; } th:first-child, td:first-child { text-align: left; }
tr.full td { font-weight: 600; border-top: 2px solid var(--line); }
.good { background: var(--good); } .near { background: var(--near); } .bad { background: var(--bad); }
.verdict { display: inline-block; padding: 0.3rem 0.9rem; border-radius: 0.4rem; font-weight: 600; margin: 1rem 0 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(32rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { max-width: 100%; height: auto; }
dt { font-weight: 600; } dd { margin: 0 0 0.5rem 0; } pre { font-size: 13px; overflow-x: auto; }
@media print { body { max-width: none; } figure, table { break-inside: avoid; } details { display: none; } }
"""
# Key of the figures, its title, and what it says.
MEASURES = {
    "mean_bias": "Mean bias statistic",
    "share_inside": "Share of portfolios within the 95 % interval",
    "mrad": "MRAD",
    "qlike": "QLIKE",
    "breaches_95": "Losses beyond the 95 % value at risk",
    "breaches_99": "Losses beyond the 99 % value at risk",
    "student_breaches_99": "Losses beyond the 99 % value at risk of a fitted Student t",
    "filtered_breaches_99": "Losses beyond the 99 % value at risk of filtered historical days",
    "filtered_shortfall_99": "Size of these losses over their expected shortfall",
}
NOTES = {
    "mean_bias": "Standard deviation of returns over their forecast: above 1, risk was understated. Green lies in 0.9 "
    "to 1.1, amber in 0.8 to 1.25.",
    "share_inside": "How many portfolios have a bias statistic that a right forecast of normal returns would have.",
    "mrad": "Mean distance of the bias statistic from 1 over rolling years: it finds forecasts that are right on "
    "average and wrong in turn. Right forecasts of normal returns give {mrad:.3f}. Green is the best layer.",
    "qlike": "A loss that is least for the true variance and punishes understatement (Patton 2011); right forecasts of "
    "normal returns give 1.27. Green is the best layer.",
    "breaches_95": "Share of outcomes worse than the normal value at risk of the forecast; 5 % is right.",
    "breaches_99": "The same at 99 %; 1 % is right for normal returns, and returns have fatter tails.",
    "student_breaches_99": "The same with the quantile of a Student t whose degrees of freedom are fitted to the "
    "periods before; 1 % is right.",
    "filtered_breaches_99": "The same with the past days of each portfolio's factor part, each over the volatility of "
    "its time (the margin's `filtered_historical`), of the full model; 1 % is right.",
    "filtered_shortfall_99": "The losses beyond that value at risk over what filtered historical days expect of a loss "
    "beyond it, both summed; 1 is right, above 1 the tail was understated.",
}
GLOSSARY = {
    "factor": "the factors of the model, each alone",
    "eigenfactor": "uncorrelated combinations of factors, the hard case of the factor covariance",
    "sector": "each sector, cap-weighted",
    "random": "seeded portfolios of equal weights, long only",
    "cap-weighted": "the market",
    "minimum-variance": "the portfolio of least forecast risk, short positions allowed: it seeks out what a forecast "
    "understates",
}
LAYERS = {
    "sample": "equally weighted days of the window",
    "EWMA": "recent days count more",
    "+ Newey-West": "serial correlation of daily returns",
    "+ eigenfactor": "simulated bias of optimised factor portfolios",
    "+ regime": "the level of volatility now",
    "+ Bayes": "specific risk shrunk by size group, structural model for short histories",
    "+ adaptive": "half-lives mixed by their own past loss",
}
PERCENT = ("share_inside", "breaches_95", "breaches_99", "student_breaches_99", "filtered_breaches_99")


def page(figures: dict[str, Any], charts: list[tuple[str, str]]) -> str:
    """Return the report as one HTML page; `charts` are pairs of a caption and an SVG."""
    data, criterion = figures["data"], figures["criterion"]
    drawn = "".join(f"<figure><figcaption>{html.escape(caption)}</figcaption>{svg}</figure>" for caption, svg in charts)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'><title>Risk model validation</title>",
        f"<style>{STYLE}</style></head><body><h1>Risk model validation</h1>",
        f"<p class='soft'>{data['n_assets']} assets, {data['n_dates']} dates from {data['first_date']} to",
        f"{data['last_date']}, {data['periods_per_year']:g} a year. Every forecast uses what was known at",
        "the end of its date. Portfolios, window and horizon are fixed beforehand, the parameters are the published",
        "ones, and nothing is fitted to these data.</p>",
        _verdict(criterion),
        _summary(figures["horizons"][0]),
        f"<h2>In pictures</h2><div class='charts'>{drawn}</div>",
        *(_horizon(horizon) for horizon in figures["horizons"]),
        f"<h2>Factors</h2><p>Mean R-squared of the daily regressions {_shown(figures['mean_r2'])}.</p>",
        _factor_table(figures["factors"]),
        _quality(figures["quality"]["findings"]),
        "<h2>What the words mean</h2><dl>",
        *(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in GLOSSARY.items()),
        *(f"<dt>{html.escape(name)}</dt><dd>{text}</dd>" for name, text in LAYERS.items()),
        f"</dl><h2>Settings</h2>{_settings(figures['settings'])}</body></html>",
    ]
    return "\n".join(parts)


def _quality(findings: list[dict[str, Any]]) -> str:
    """What looked wrong in the data, and what it does to which numbers."""
    if not findings:
        return "<h2>Data</h2><p>Nothing looked wrong in the data.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(found['severity'])}: {html.escape(found['line'])}</td>"
        f"<td>{found['n_rows']}</td><td>{html.escape(found['effect'])}</td><td>{html.escape(found['remedy'])}</td></tr>"
        for found in findings
    )
    head = "<tr><th></th><th>rows</th><th>what it does</th><th>what to do</th></tr>"
    return f"<h2>Data</h2><table><caption>What looked wrong in the data</caption>{head}{rows}</table>"


def _verdict(criterion: dict[str, Any]) -> str:
    low, high = criterion["mean_bias_within"]
    full = criterion["full_model"]
    word, kind = ("met", "good") if criterion["met"] else ("not met", "bad")
    return (
        f"<p class='verdict {kind}'>Criterion {word}</p><p>The full model's mean bias statistic over one day is "
        f"{_shown(full['random'])} for random and {_shown(full['cap-weighted'])} for cap-weighted portfolios; both "
        f"should lie in {low} to {high}. It is {_shown(full['minimum-variance'])} for minimum-variance portfolios.</p>"
    )


def _summary(horizon: dict[str, Any]) -> str:
    """One row a family: the full model against the sample covariance."""
    first, last = horizon["layers"][0]["families"], horizon["layers"][-1]["families"]
    rows = []
    for family in FAMILIES:
        full, sample = last[family], first[family]
        cells = [
            f"<td>{full['n_portfolios']}</td>",
            f"<td class='{_bias_class(full['mean_bias'])}'>{_shown(full['mean_bias'])}</td>",
            f"<td>{_percent(full['share_inside'])}</td>",
            f"<td>{_shown(full['mrad'])} <span class='soft'>({_shown(sample['mrad'])})</span></td>",
            f"<td>{_shown(full['qlike'])} <span class='soft'>({_shown(sample['qlike'])})</span></td>",
            f"<td>{_percent(full['breaches_95'])}</td><td>{_percent(full['breaches_99'])}</td>",
        ]
        rows.append(f"<tr><td>{family}</td>{''.join(cells)}</tr>")
    titles = ("portfolios", "mean bias", "within 95 %", "MRAD (sample)", "QLIKE (sample)", "beyond VaR 95", "VaR 99")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table><caption>The full model, one day ahead</caption><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _horizon(horizon: dict[str, Any]) -> str:
    low, high = horizon["bias_interval"]
    days = horizon["horizon_days"]
    right = (1.0 / (3.14159265 * horizon["rolling_periods"])) ** 0.5
    text = (
        f"<h2>Layer by layer, {days} day{'s' if days > 1 else ''} ahead</h2><p>{horizon['n_periods']} periods without "
        f"overlap, {horizon['first_forecast']} to {horizon['last_forecast']}; the 95 % interval of the bias statistic "
        f"of a right forecast of normal returns is {low:.3f} to {high:.3f}.</p>"
    )
    return (
        text
        + "".join(
            f"{_layer_table(horizon, key, title)}<p class='soft'>{NOTES[key].format(mrad=right)}</p>"
            for key, title in MEASURES.items()
        )
        + _peer(horizon)
        + _specific_groups(horizon["specific_groups"])
    )


def _specific_groups(groups: list[dict[str, Any]]) -> str:
    """Specific risk of names that are hard to forecast, one row a group."""
    if not groups:
        return ""
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "n_days": ("days", _shown),
        "names_a_day": ("names a day", _shown),
        "portfolio_bias": ("bias of the portfolio", _shown),
        "portfolio_qlike": ("its QLIKE", _shown),
        "name_bias": ("bias of the names", _shown),
        "name_breaches_99": ("names beyond VaR 99", _percent),
    }
    head = "".join(f"<th>{title}</th>" for title, _ in columns.values())
    rows = "".join(
        f"<tr><td>{html.escape(group['group'])}</td>"
        + "".join(f"<td>{show(group[key])}</td>" for key, (_, show) in columns.items())
        + "</tr>"
        for group in groups
    )
    return (
        f"<table><caption>Specific risk by group of names</caption><tr><th></th>{head}</tr>{rows}</table>"
        "<p class='soft'>Specific returns one day ahead. A new listing has fewer than 180 days; an event is a specific "
        "return beyond 4 of its forecast deviations in the last 5 days; earnings are the day of a release and the two "
        "after it. The portfolio holds a group in equal parts.</p>"
    )


def _peer(horizon: dict[str, Any]) -> str:
    """The full model beside a peer, and what is worse in ours."""
    peer = horizon.get("peer")
    if peer is None:
        return ""
    ours = horizon["layers"][-1]["families"]
    rows = []
    for family, theirs in peer["families"].items():
        cells = "".join(
            f"<td>{_percent(one[key]) if key in PERCENT else _shown(one[key])}</td>"
            for key in ("mean_bias", "mrad", "qlike", "breaches_95", "breaches_99", "student_breaches_99")
            for one in (ours[family], theirs)
        )
        rows.append(f"<tr><td>{family}</td>{cells}<td>{_shown(theirs['dm_t'])}</td></tr>")
    titles = ("mean bias", "MRAD", "QLIKE", "beyond VaR 95", "VaR 99", "Student VaR 99")
    head = "".join(f"<th>{title}, ours</th><th>theirs</th>" for title in titles)
    worse = "; ".join(
        f"{MEASURES[each['measure']]} of {each['family']} ({each['ours']:.4g} against {each['peer']:.4g})"
        for each in peer["worse"]
    )
    return (
        f"<table><caption>The full model beside {html.escape(peer['name'])}</caption><tr><th></th>{head}<th>t</th></tr>"
        f"{''.join(rows)}</table><p class='soft'>t is the Diebold-Mariano statistic of QLIKE: below -2, ours is "
        f"lower by more than chance. Worse in ours: {worse or 'nothing'}.</p>"
    )


def _layer_table(horizon: dict[str, Any], key: str, title: str) -> str:
    layers = horizon["layers"]
    best = {
        family: min((value for layer in layers if (value := layer["families"][family][key]) is not None), default=None)
        for family in FAMILIES
    }
    rows = []
    for layer in layers:
        cells = []
        for family in FAMILIES:
            value = layer["families"][family][key]
            kind = _bias_class(value) if key == "mean_bias" else ""
            if key in ("mrad", "qlike") and value is not None and value == best[family]:
                kind = "good"
            shown = _percent(value) if key in PERCENT else _shown(value)
            cells.append(f"<td class='{kind}'>{shown}</td>" if kind else f"<td>{shown}</td>")
        last = " class='full'" if layer is layers[-1] else ""
        rows.append(f"<tr{last}><td>{html.escape(layer['name'])}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{family}</th>" for family in FAMILIES)
    return f"<table><caption>{title}</caption><tr><th>layer</th>{head}</tr>{''.join(rows)}</table>"


def _factor_table(factors: list[dict[str, Any]]) -> str:
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "n_dates": ("dates", _shown),
        "share_significant": ("|t| above 2 on", _percent),
        "annual_return": ("return a year", _percent),
        "annual_volatility": ("volatility a year", _percent),
        "mean_vif": ("mean VIF", _shown),
    }
    head = "".join(f"<th>{title}</th>" for title, _ in columns.values())
    rows = "".join(
        f"<tr><td>{html.escape(factor['name'])}</td>"
        + "".join(f"<td>{show(factor[key])}</td>" for key, (_, show) in columns.items())
        + "</tr>"
        for factor in factors
    )
    return f"<table><tr><th>factor</th>{head}</tr>{rows}</table>"


def _settings(settings: dict[str, dict[str, Any]]) -> str:
    lines = [f"{group}.{name} = {value}" for group, values in settings.items() for name, value in values.items()]
    return (
        f"<details><summary>Everything that was fixed</summary><pre>{html.escape(chr(10).join(lines))}</pre></details>"
    )


def _bias_class(value: float | None) -> str:
    if value is None:
        return ""
    return "good" if 0.9 <= value <= 1.1 else "near" if 0.8 <= value <= 1.25 else "bad"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100.0 * value:.1f} %"


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
