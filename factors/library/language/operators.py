"""The operator table: names, aliases, parameters and result types. What they compute is in lowering.py and kernels/."""

from __future__ import annotations

from dataclasses import dataclass

_KINDS = {"p": "panel", "b": "bool", "g": "group", "f": "number", "i": "integer"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: panel, bool, group, or a constant number or integer not below `least`."""

    name: str
    kind: str
    variadic: bool = False
    default: float | None = None
    least: int = 1


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the language.

    Attributes
    ----------
    result : {"panel", "bool", "like", "where"}
        `like`: as the first argument; `where`: bool if both branches are, else panel.
    settings : tuple of str
        Keyword arguments it takes.
    """

    name: str
    aliases: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    result: str
    settings: tuple[str, ...]

    @property
    def signature(self) -> str:
        """As a reader would write the call."""
        parts = [p.name + ", ..." if p.variadic else p.name for p in self.parameters]
        return f"{self.name}({', '.join(parts)})"

    def least(self, parameter: Parameter) -> int:
        """Smallest value of an integer parameter."""
        return parameter.least


def _parameter(text: str) -> Parameter:
    variadic = text.startswith("*")
    name, kind = text.lstrip("*").split(":")
    kind, _, default = kind.partition("=")
    least = int(kind[1:]) if len(kind) > 1 else 1
    return Parameter(name, _KINDS[kind[0]], variadic, float(default) if default else None, least)


# name and aliases | parameters `name:kind` (p panel, b bool, g group, f float, i integer) | result | keywords
_TABLE = """
neg | x:p | panel
add | x:p y:p | panel
sub | x:p y:p | panel
mul | x:p y:p | panel
div | x:p y:p | panel
mod | x:p y:p | panel
power pow | x:p a:p | panel
signedpower | x:p a:p | panel
lt | x:p y:p | bool
le | x:p y:p | bool
gt | x:p y:p | bool
ge | x:p y:p | bool
eq | x:p y:p | bool
ne | x:p y:p | bool
logical_and | c:b d:b | bool
logical_or | c:b d:b | bool
logical_not | c:b | bool
where if_else iff | c:b x:p y:p | where
abs | x:p | panel
sign | x:p | panel
log ln | x:p | panel
log10 | x:p | panel
log1p | x:p | panel
exp | x:p | panel
sqrt | x:p | panel
floor | x:p | panel
ceil | x:p | panel
round | x:p | panel
sin | x:p | panel
cos | x:p | panel
tan | x:p | panel
atan | x:p | panel
tanh | x:p | panel
inv | x:p | panel
max | x:p y:p *z:p | panel
min | x:p y:p *z:p | panel
maximum fmax | x:p y:p *z:p | panel
minimum fmin | x:p y:p *z:p | panel
isnan | x:p | bool
fillna | x:p a:f | panel
coalesce | x:p y:p *z:p | panel
filter | x:p c:b | panel
clip | x:p lo:f hi:f | panel
delay ref lag | x:p d:i0=1 | like
delta | x:p d:i=1 | panel
pct_change | x:p d:i=1 | panel
sum ts_sum | x:p d:i | panel | min_periods
mean ts_mean ma | x:p d:i | panel | min_periods
stddev std ts_std | x:p d:i2 | panel | min_periods ddof
variance var | x:p d:i2 | panel | min_periods ddof
skew | x:p d:i3 | panel | min_periods bias
kurt | x:p d:i4 | panel | min_periods bias
ts_zscore | x:p d:i2 | panel | min_periods ddof
avedev mad | x:p d:i | panel
product prod | x:p d:i | panel | min_periods
ts_min tsmin | x:p d:i | panel | min_periods
ts_max tsmax | x:p d:i | panel | min_periods
ts_argmin | x:p d:i | panel | min_periods
ts_argmax | x:p d:i | panel | min_periods
lowday | x:p d:i | panel
highday | x:p d:i | panel
ts_rank tsrank | x:p d:i | panel | min_periods
ts_quantile | x:p d:i q:f | panel | min_periods
median ts_median | x:p d:i | panel | min_periods
mean_largest | x:p d:i k:i | panel | min_periods
mean_smallest | x:p d:i k:i | panel | min_periods
count | c:b d:i | panel | min_periods
sumif | x:p d:i c:b | panel | min_periods
decay_linear decaylinear | x:p d:i | panel
wma | x:p d:i ratio:f=0.9 | panel
ew_mean | x:p d:i half_life:f | panel | min_periods
ew_sum | x:p d:i half_life:f | panel | min_periods
ew_std | x:p d:i half_life:f | panel | min_periods
corr correlation | x:p y:p d:i2 | panel | min_periods
cov covariance coviance | x:p y:p d:i2 | panel | min_periods ddof
reg_slope regbeta ts_beta | y:p x:p d:i2 | panel | min_periods
reg_intercept | y:p x:p d:i2 | panel | min_periods
reg_r2 | y:p x:p d:i2 | panel | min_periods
reg_residual regresi | y:p x:p d:i2 | panel | min_periods
reg_residual_std | y:p x:p d:i3 | panel | min_periods ddof
reg_residual_skew | y:p x:p d:i3 | panel | min_periods
coskew | y:p x:p d:i3 | panel | min_periods
mreg_slope | k:i d:i3 y:p x:p *z:p | panel | min_periods
mreg_intercept | d:i3 y:p x:p *z:p | panel | min_periods
mreg_r2 | d:i3 y:p x:p *z:p | panel | min_periods
mreg_residual | d:i3 y:p x:p *z:p | panel | min_periods
mreg_residual_std | d:i3 y:p x:p *z:p | panel | min_periods ddof
mreg_residual_skew | d:i3 y:p x:p *z:p | panel | min_periods
ew_reg_slope | y:p x:p d:i2 half_life:f | panel | min_periods
ew_reg_intercept | y:p x:p d:i2 half_life:f | panel | min_periods
ew_reg_residual_std | y:p x:p d:i2 half_life:f | panel | min_periods
slope | x:p d:i2 | panel | min_periods
intercept | x:p d:i2 | panel | min_periods
rsquare | x:p d:i2 | panel | min_periods
resi | x:p d:i2 | panel | min_periods
forecast tsf | x:p d:i2 | panel | min_periods
linreg | x:p d:i2 | panel | min_periods
ts_drawdown | x:p d:i | panel
sumac_range | x:p d:i | panel
cum_range | x:p n:i k:i | panel
cum_max | x:p n:i k:i | panel
cum_min | x:p n:i k:i | panel
barslast | c:b | panel
ffill | x:p d:i | panel
last_if | x:p c:b | panel
ema | x:p d:i | panel | seed
wilder rma | x:p d:i | panel | seed
wilder_sum | x:p d:i2 | panel
sma | x:p n:i m:i | panel | seed
ewm | x:p alpha:f | panel
kama | x:p d:i fast:i=2 slow:i=30 | panel
sar | high:p low:p step:f maximum:f | panel
mama | x:p fast:f slow:f | panel
fama | x:p fast:f slow:f | panel
ht_dcperiod | x:p | panel
ht_inphase | x:p | panel
ht_quadrature | x:p | panel
ht_dcphase | x:p | panel
ht_sine | x:p | panel
ht_leadsine | x:p | panel
ht_trendline | x:p | panel
ht_trendmode | x:p | panel
cumsum sumac | x:p | panel | reset
cumprod | x:p | panel | reset
cummax | x:p | panel | reset
cummin | x:p | panel | reset
rank | x:p | panel
scale | x:p a:f=1 | panel
zscore | x:p | panel
demean | x:p | panel
standardize | x:p w:p | panel
winsorize | x:p p:f=0.01 | panel
winsorize_sigma | x:p k:f=3 | panel
gauss_rank | x:p | panel
bucket | x:p n:i2 | panel
cs_mean | x:p | panel
cs_sum | x:p | panel
cs_std | x:p | panel
cs_median | x:p | panel
cs_min | x:p | panel
cs_max | x:p | panel
cs_count | x:p | panel
cs_quantile | x:p q:f | panel
cs_wmean | x:p w:p | panel
cs_wsum | x:p w:p | panel
cs_corr | x:p y:p | panel
cs_slope | y:p x:p | panel
cs_residual regression_residual | y:p x:p *z:p | panel
cs_wresidual | y:p w:p x:p *z:p | panel
cs_mslope | k:i y:p x:p *z:p | panel
indneutralize group_neutralize group_demean | x:p g:g | panel
group_mean | x:p g:g | panel
group_sum | x:p g:g | panel
group_std | x:p g:g | panel
group_count | x:p g:g | panel
group_min | x:p g:g | panel
group_max | x:p g:g | panel
group_median | x:p g:g | panel
group_wmean | x:p w:p g:g | panel
group_rank | x:p g:g | panel
group_zscore | x:p g:g | panel
group_scale | x:p g:g | panel
"""


def _read(line: str) -> Operator:
    cells = [cell.strip() for cell in line.split("|")] + [""]
    name, *aliases = cells[0].split()
    parameters = tuple(_parameter(text) for text in cells[1].split())
    return Operator(name, tuple(aliases), parameters, cells[2], tuple(cells[3].split()))


OPERATORS: dict[str, Operator] = {}
for _line in _TABLE.strip().splitlines():
    _operator = _read(_line)
    OPERATORS[_operator.name] = _operator
BY_NAME: dict[str, Operator] = {name: o for o in OPERATORS.values() for name in (o.name, *o.aliases)}
