"""What a setting is: a frozen value whose types and bounds are checked when it is made, by pydantic.

A class of settings names its fields with the types below; what is wrong is a `SettingsError` that names the path of the
field (``style_factors.mom.trailing_days``) and what it must be.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field
from functools import cache
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from factors.errors import SettingsError

T = TypeVar("T")

SHOWN = 60
"""Characters of a wrong value that an error repeats."""

# Strict throughout: a text is no number and `true` is no 1, also where a library would read them as such.
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=128)]
Formula = Annotated[str, Field(strict=True, min_length=1, max_length=4000)]
Days = Annotated[int, Field(strict=True, ge=1, le=10_000)]
"""A window of dates; forty years of days are the most."""
DaysOrNone = Annotated[int, Field(strict=True, ge=0, le=10_000)]
"""As `Days`, where 0 switches something off."""
Draws = Annotated[int, Field(strict=True, ge=0, le=10_000)]
Lags = Annotated[int, Field(strict=True, ge=0, le=252)]
Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
Threads = Annotated[int, Field(strict=True, ge=0, le=1024)]
"""0 is one thread too."""
Seed = Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)]
Decay = Annotated[float, Field(strict=True, gt=0.0)]
"""A half-life in days; infinity weighs all days alike."""
DecayOrNone = Annotated[float, Field(strict=True, ge=0.0)]
"""As `Decay`, where 0 switches something off."""
Fraction = Annotated[float, Field(strict=True, ge=0.0, lt=0.5)]
"""A share that is cut at each end."""
Share = Annotated[float, Field(strict=True, ge=0.0, le=1.0)]
Deviations = Annotated[float, Field(strict=True, gt=0.0, le=1e9)]
"""A number of deviations; 1e9 clips nothing."""
Clip = tuple[Annotated[float, Field(strict=True, gt=0.0, le=1.0)], Annotated[float, Field(strict=True, ge=1.0, le=1e6)]]
"""The bounds of a multiplier: (low, high) with 0 < low <= 1 <= high."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def settings_class(kind: type[T]) -> type[T]:
    """Make a class a frozen dataclass of settings, checked when it is made.

    A ``__post_init__`` may check what belongs together: it raises a `SettingsError` whose `field` is the class's own,
    and whose message begins with that name.

    Raises
    ------
    SettingsError
        From the constructor: names the first field that is wrong, and what it must be.
    """
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid"))(kind)
    unchecked = made.__init__

    def __init__(self: T, *args: Any, **values: Any) -> None:  # noqa: N807  (it becomes the class's)
        try:
            unchecked(self, *args, **values)
        except ValidationError as error:
            raise settings_error(error) from None

    __init__.__wrapped__ = unchecked  # type: ignore[attr-defined]
    made.__init__ = __init__
    return cast("type[T]", made)


def read_settings(kind: type[T], values: Mapping[str, Any]) -> T:
    """Read settings from nested mappings, as TOML and JSON give them; what is left out has its default.

    Raises
    ------
    SettingsError
        Names the path of the first field that is wrong or unknown, and what it must be.
    """
    if not isinstance(values, Mapping):
        raise SettingsError("settings must be a table", field="settings")
    try:
        made: T = _adapter(cast("Hashable", kind)).validate_python(dict(values))
    except ValidationError as error:
        raise settings_error(error) from None
    return made


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", kind))


def settings_error(error: ValidationError) -> SettingsError:
    """Say the first thing that is wrong as one sentence, and how many more there are."""
    found = error.errors(include_url=False)
    first = found[0]
    inner = first.get("ctx", {}).get("error")
    path = _path(first["loc"])
    if isinstance(inner, SettingsError):
        own = f"{path}." if path else ""
        where, said = f"{own}{inner.field}", f"{own}{inner}"
    elif isinstance(inner, ValueError):
        where, said = path, f"{path} {inner}"
    else:
        where, said = path or "settings", f"{path or 'settings'} {_said(dict(first))}"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return SettingsError(said + more, field=where)


def _path(places: tuple[int | str, ...]) -> str:
    """Write where a value is: names with dots, places in a list in brackets."""
    path = ""
    for place in places:
        if isinstance(place, int):
            path += f"[{place}]"
        elif place != "[key]":
            path += f".{place}" if path else place
    return path


def _said(wrong: dict[str, Any]) -> str:
    kind, message = wrong["type"], str(wrong["msg"])
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return "is not a setting"
    if kind in ("dataclass_type", "dict_type", "mapping_type"):
        return "must be a table"
    if kind in ("tuple_type", "list_type"):
        message = "must be a list"
    given = repr(wrong.get("input"))
    given = given if len(given) <= SHOWN else f"{given[:SHOWN]}..."
    return f"{message.replace('Input should', 'must', 1)}, got {given}"
