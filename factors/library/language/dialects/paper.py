"""Alpha101 as it comes out of the paper's PDF: typographic signs and broken lines."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = str.maketrans(
    {
        "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\ufe63": "-",
        "\u00d7": "*", "\u00b7": "*", "\u2217": "*", "\u22c5": "*", "\u2219": "*", "\u00f7": "/", "\u2215": "/",
        "\u2044": "/", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u02c6": "^", "\u2227": "&&", "\u2228": "||",
        "\u2223": "|", "\u2018": "", "\u2019": "", "\u201c": "", "\u201d": "", "\u00ad": "", "\u200b": "",
        "\ufeff": "",
    }
)  # fmt: skip


_HEAD = re.compile(r"\s*alpha\s*#?\s*\d+\s*[:=]\s*", re.IGNORECASE)


def from_paper(text: str) -> tuple[str, tuple[str, ...]]:
    """Replace the signs of print; ligatures and wide letters become plain ones; "Alpha#1:" in front goes."""
    plain = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)
    return _HEAD.sub("", plain, count=1).strip().rstrip(";").rstrip(), ()
