"""A bar chart as SVG: one group a lane, one bar a peer, the range over the rounds as a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from .statistics_of import Spread

_WIDTH, _LABEL, _VALUE = 760, 130, 90
_BAR, _GAP, _GROUP_GAP, _TOP = 16, 4, 30, 44
_OURS, _THEIRS, _LINE = "#1f77b4", "#b8c4ce", "#444"


@dataclass(frozen=True, slots=True)
class Bar:
    """One peer's figure."""

    name: str
    value: Spread
    text: str


def chart(title: str, groups: Mapping[str, Sequence[Bar]]) -> str:
    """Draw groups of horizontal bars; each group has a scale of its own."""
    body: list[str] = []
    y = _TOP
    for name, bars in groups.items():
        body.append(_text(8, y, name, weight="bold"))
        y += 8
        longest = max((bar.value.high for bar in bars), default=1.0) or 1.0
        for bar in bars:
            body += _bar(bar, y, (_WIDTH - _LABEL - _VALUE) / longest)
            y += _BAR + _GAP
        y += _GROUP_GAP
    return "\n".join([_opening(y), _text(8, 20, title, weight="bold"), *body, "</svg>", ""])


def _bar(bar: Bar, y: float, scale: float) -> list[str]:
    colour = _OURS if bar.name.startswith("trilane") else _THEIRS
    middle = y + _BAR / 2
    low, high = _LABEL + bar.value.low * scale, _LABEL + bar.value.high * scale
    width = bar.value.middle * scale
    return [
        _text(_LABEL - 8, middle + 4, bar.name, anchor="end"),
        f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="{_LINE}"/>',
        _text(high + 6, middle + 4, bar.text),
    ]


def _opening(height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        f' viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">\n'
        '<rect width="100%" height="100%" fill="white"/>'
    )


def _text(x: float, y: float, text: str, *, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
