"""The store of portfolios: named, versioned values like models, but small, so a version is one JSON document.

A portfolio's folder holds `versions/` and `head.json`, the newest. The commit is that `head.json` is replaced
(`store.commit`) under a lock; a version file that it does not reach is of a commit that was cut off.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import orjson

from contracts.errors import InvalidInput, Unavailable, UnknownPortfolio, VersionConflict
from contracts.events import token, untoken
from contracts.tracing import spanned
from store.commit import Commit, FolderCommit, Step, attempt

FORMAT = 1
REQUESTS_REMEMBERED = 64
Kind = Literal["weights", "values", "shares"]


@dataclass(frozen=True)
class Holdings:
    """What is held at the close of a date.

    Attributes
    ----------
    date
        ISO date; None for a book that holds on any date.
    positions
        Symbol (of the model, a cash code, or `portfolio:ID`) to weight, value in money, or number of shares.
    """

    date: str | None
    positions: Mapping[str, float]


@dataclass(frozen=True)
class Portfolio:
    """One version of a portfolio.

    Attributes
    ----------
    kind
        What the numbers of the holdings are.
    holdings
        By date, ascending.
    requests
        The last requests and the versions that they made, so that a repeated one is recognised.
    """

    portfolio_id: str
    version: int
    kind: Kind
    holdings: tuple[Holdings, ...]
    description: str = ""
    created_at: str = ""
    request_id: str = ""
    requests: Mapping[str, int] = field(default_factory=dict)
    deleted: bool = False

    def on(self, date: str | None) -> Holdings:
        """Give the newest holdings of a date or before it; the first ones for an earlier date."""
        known = [held for held in self.holdings if held.date is None or date is None or held.date <= date]
        return known[-1] if known else self.holdings[0]


class PortfolioStore:
    """Opens, lists, commits and deletes portfolios below `root`.

    Parameters
    ----------
    root
        The store's folder, or its place, which models share.
    keep_versions
        Older versions kept beside the newest.
    """

    def __init__(self, root: Path | Commit, keep_versions: int = 16) -> None:
        self._place = FolderCommit(root) if isinstance(root, Path) else root
        self.root = self._place.root / "portfolios"
        self.keep_versions = keep_versions
        self._seen: dict[str, tuple[tuple[int, int], Portfolio]] = {}

    def get(self, portfolio_id: str, version: int | None = None) -> Portfolio:
        """Open a version, by default the newest. Raises `UnknownPortfolio`."""
        newest = self._newest(portfolio_id)
        if newest is None or newest.deleted:
            state = "was deleted" if newest else "does not exist"
            raise UnknownPortfolio(f"the portfolio {portfolio_id!r} {state}", field="portfolio_id")
        if version is None or version == newest.version:
            return newest
        with contextlib.suppress(FileNotFoundError):
            if version < newest.version:
                return self._kept(portfolio_id, version)
        raise UnknownPortfolio(
            f"portfolio {portfolio_id!r} has no kept version {version}; the newest is {newest.version}",
            field="portfolio_version",
        )

    def ids(self) -> list[str]:
        """List the portfolios that are not deleted, by name."""
        out = []
        with contextlib.suppress(FileNotFoundError):
            for folder in self.root.iterdir():
                # One damaged portfolio, or something else that lies here, is not the others' fault.
                with contextlib.suppress(ValueError, OSError, InvalidInput, Unavailable):
                    newest = self._newest(untoken(folder.name), ask=False)
                    if newest is not None and not newest.deleted:
                        out.append(newest.portfolio_id)
        return sorted(out)

    def put(self, made: Portfolio, *, request_id: str, base: int | None = None) -> Portfolio:
        """Make a portfolio the newest version; a repeated request id gives the version that it made.

        Raises
        ------
        VersionConflict
            `base` is given and not the newest version (0 for none).
        InvalidInput
            Another change was made under this id.
        """

        def same(kept: Portfolio) -> bool:
            return not kept.deleted and (kept.kind, kept.holdings) == (made.kind, made.holdings)

        return self._commit(made.portfolio_id, request_id, lambda _: made, same, base)

    def append(self, portfolio_id: str, holdings: tuple[Holdings, ...], *, request_id: str) -> Portfolio:
        """Add holdings of later dates as a new version.

        Raises
        ------
        UnknownPortfolio
            There is none of that name.
        InvalidInput
            A date is not after the last one.
        """

        def longer(before: Portfolio | None) -> Portfolio:
            if before is None or before.deleted:
                raise UnknownPortfolio(f"the portfolio {portfolio_id!r} does not exist", field="portfolio_id")
            last = before.holdings[-1].date
            early = [str(h.date) for h in holdings if h.date is None or (last is not None and h.date <= last)]
            if last is None or early:
                raise InvalidInput(
                    f"holdings to append must come after {last or 'holdings without a date, which hold for ever'}",
                    field="holdings",
                    rows=early,
                )
            return replace(before, holdings=(*before.holdings, *holdings))

        def same(kept: Portfolio) -> bool:
            return kept.holdings[-len(holdings) :] == holdings

        return self._commit(portfolio_id, request_id, longer, same)

    def delete(self, portfolio_id: str, *, request_id: str) -> int:
        """Put a tombstone as the newest version, and give its number."""

        def gone(before: Portfolio | None) -> Portfolio:
            if before is None or before.deleted:
                raise UnknownPortfolio(f"the portfolio {portfolio_id!r} does not exist", field="portfolio_id")
            return replace(before, holdings=(), deleted=True)

        return self._commit(portfolio_id, request_id, gone, lambda kept: kept.deleted).version

    # -- inside

    def _folder(self, portfolio_id: str) -> Path:
        return self.root / token(portfolio_id)

    def _newest(self, portfolio_id: str, *, ask: bool = True) -> Portfolio | None:
        path = self._folder(portfolio_id) / "head.json"
        try:
            status = path.stat()
        except FileNotFoundError:
            return self._newest(portfolio_id, ask=ask) if ask and self._place.missed(path) else None
        signature = (status.st_ino, status.st_mtime_ns)
        seen = self._seen.get(portfolio_id)
        if seen is None or seen[0] != signature:
            seen = self._seen[portfolio_id] = (signature, _read(path))
        return seen[1]

    @spanned("store commit")
    def _commit(
        self,
        portfolio_id: str,
        request_id: str,
        change: Callable[[Portfolio | None], Portfolio],
        same: Callable[[Portfolio], bool],
        base: int | None = None,
    ) -> Portfolio:
        """Make a version by `change`, or give the one that the id made, which `same` knows for what is asked."""
        folder = self._folder(portfolio_id)
        (folder / "versions").mkdir(parents=True, exist_ok=True, mode=0o700)

        def made() -> Portfolio:
            before = self._newest(portfolio_id)
            requests = dict(before.requests) if before else {}
            if before is not None and request_id in requests:
                return self._repeated(portfolio_id, before, requests[request_id], same)
            at = before.version if before is not None and not before.deleted else 0
            if base is not None and base != at:
                raise VersionConflict(f"portfolio {portfolio_id!r} is at version {at}, not {base}")
            number = before.version + 1 if before else 1
            requests[request_id] = number
            made = replace(
                change(before),
                portfolio_id=portfolio_id,
                version=number,
                created_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                request_id=request_id,
                requests=dict([*requests.items()][-REQUESTS_REMEMBERED:]),
            )
            content = orjson.dumps({"format": FORMAT, **asdict(made)}, option=orjson.OPT_INDENT_2)
            kept_before = _version(folder, before.version) if before else None
            self._place.publish(Step(folder / "head.json", content, _version(folder, number), kept_before))
            for old in sorted((folder / "versions").glob("*.json"))[: -self.keep_versions - 1]:
                old.unlink(missing_ok=True)
            return made

        done = attempt(self._place, folder / "head.json", made)
        self._place.retire(folder, self.keep_versions)
        return done

    def _repeated(
        self, portfolio_id: str, newest: Portfolio, number: int, same: Callable[[Portfolio], bool]
    ) -> Portfolio:
        """Give what an id made. It may be retired since, and then the newest still says that it was done."""
        kept = newest
        if number != newest.version:
            with contextlib.suppress(FileNotFoundError):
                kept = self._kept(portfolio_id, number)
        if kept.version == number and not same(kept):
            raise InvalidInput(
                f"the id is that of another request, which made version {number} of {portfolio_id!r}: "
                "an id is for repeating the same, a new request has a new one",
                field="request_id",
            )
        return kept

    def _kept(self, portfolio_id: str, version: int) -> Portfolio:
        """Read an older version. Raises `FileNotFoundError`."""
        path = _version(self._folder(portfolio_id), version)
        if not path.exists():
            self._place.fetch(path)
        return _read(path)


def _version(folder: Path, version: int) -> Path:
    return folder / "versions" / f"{version:08d}.json"


def _read(path: Path) -> Portfolio:
    content = path.read_bytes()
    try:
        value = orjson.loads(content)
        if value.pop("format") != FORMAT:
            raise ValueError("it is written by another release")
        holdings = tuple(Holdings(**held) for held in value.pop("holdings"))
        return Portfolio(**value, holdings=holdings)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        file = f"portfolios/{path.parent.name}/{path.name}"
        raise Unavailable(f"a portfolio cannot be read: {file}: {type(error).__name__} {error}") from None
