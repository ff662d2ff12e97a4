"""Sequence diagrams as SVG, in the part of mermaid's language that docs/drawings.md uses.

The theme would fetch mermaid from another host in the reader's browser.
"""

from __future__ import annotations

import re
from html import escape

COLUMN, ROW, TOP = 170, 34, 46
"""Pixels between two lives, between two messages, and above the first message."""
LETTER = 6.2
PARTICIPANT = re.compile(r"participant (\w+) as (.+)")
MESSAGE = re.compile(r"(\w+)(--?)>>(\w+): (.+)")
NOTE = re.compile(r"Note over (\w+): (.+)")


def drawn(text: str) -> str:
    """Draw a diagram.

    Raises
    ------
    ValueError
        A line is in none of the forms that are known here.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    if lines[0] != "sequenceDiagram":
        raise ValueError(f"only sequence diagrams are drawn, this is {lines[0]!r}")
    names: dict[str, str] = {}
    steps: list[str] = []
    for line in lines[1:]:
        if found := PARTICIPANT.fullmatch(line):
            names[found[1]] = found[2]
        else:
            steps.append(line)
    at = {name: COLUMN // 2 + COLUMN * number for number, name in enumerate(names)}
    body = [_step(line, at, TOP + ROW * (number + 1)) for number, line in enumerate(steps)]
    bottom = TOP + ROW * (len(steps) + 1)
    # The last life's own messages stand to its right.
    width = COLUMN * len(names) + 130
    told = escape("; ".join(steps), quote=True)
    lives = [_life(at[name], label, bottom) for name, label in names.items()]
    return (
        '<div style="overflow-x:auto">'
        f'<svg viewBox="0 0 {width} {bottom + 8}" role="img" aria-label="{told}" '
        f'style="width:{width}px;max-width:none;height:{bottom + 8}px;max-height:none;'
        'font:11px sans-serif;color:inherit" fill="currentColor" stroke="none">'
        f"{''.join(lives)}{''.join(body)}</svg></div>\n"
    )


def _life(x: int, label: str, bottom: int) -> str:
    words = label.partition(" (")
    second = f'<tspan x="{x}" dy="13">({escape(words[2])}</tspan>' if words[2] else ""
    return (
        f'<text x="{x}" y="14" text-anchor="middle" font-weight="bold">{escape(words[0])}{second}</text>'
        f'<line x1="{x}" y1="34" x2="{x}" y2="{bottom}" stroke="currentColor" stroke-opacity=".35"/>'
    )


def _step(line: str, at: dict[str, int], y: int) -> str:
    if found := NOTE.fullmatch(line):
        x, text = at[found[1]], escape(found[2])
        half = int(len(found[2]) * LETTER / 2) + 8
        return (
            f'<rect x="{x - half}" y="{y - 16}" width="{2 * half}" height="22" fill-opacity=".12"/>'
            f'<text x="{x}" y="{y}" text-anchor="middle">{text}</text>'
        )
    found = MESSAGE.fullmatch(line)
    if found is None:
        raise ValueError(f"this line of a sequence diagram is not understood: {line!r}")
    begin, end, text = at[found[1]], at[found[3]], escape(found[4])
    dashes = ' stroke-dasharray="4 3"' if found[2] == "--" else ""
    stroke = f'stroke="currentColor" fill="none"{dashes}'
    if begin == end:
        loop = f'<path d="M{begin} {y - 10} h18 v12 h-14" {stroke}/>{_head(begin + 2, y + 2, -1)}'
        return f'{loop}<text x="{begin + 24}" y="{y}">{text}</text>'
    way = 1 if end > begin else -1
    return (
        f'<text x="{(begin + end) // 2}" y="{y - 5}" text-anchor="middle">{text}</text>'
        f'<line x1="{begin}" y1="{y}" x2="{end - 5 * way}" y2="{y}" {stroke}/>{_head(end, y, way)}'
    )


def _head(x: int, y: int, way: int) -> str:
    return f'<path d="M{x} {y} l{-8 * way} -4 v8 z"/>'
