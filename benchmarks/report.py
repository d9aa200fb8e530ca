"""A run's figures as a table, as JSON and as a chart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .chart import Bar, chart
from .measuring import Series
from .peers import REFERENCE
from .statistics_of import Metric, Spread, over_rounds, ratio

RESULTS = Path(__file__).parent / "results"
_SAME_IN_ALL_PARTS = ("kernel", "python", "commit", "uncommitted_changes", "versions")


@dataclass(frozen=True, slots=True)
class Column:
    """A metric that is reported."""

    name: str
    """With its unit."""
    metric: Metric
    digits: int
    is_main: bool = False
    """The one ratios and the chart are about."""


@dataclass(frozen=True, slots=True)
class Row:
    """One peer on one lane."""

    lane: str
    peer: str
    figures: dict[str, Spread | None]
    ratio: Spread | None
    rounds: int
    failure: str


@dataclass(slots=True)
class Report:
    """What a command measured."""

    command: str
    settings: dict[str, object]
    machine: dict[str, object]
    absent: dict[str, str]
    columns: list[Column]
    rows: list[Row] = field(default_factory=list)

    def add(self, lane_series: Sequence[Series]) -> None:
        """Take in the peers of one lane; the reference is among them, or there are no ratios."""
        main = next(column for column in self.columns if column.is_main)
        reference = next((each for each in lane_series if each.peer == REFERENCE), None)
        for series in lane_series:
            self.rows.append(
                Row(
                    lane=series.lane,
                    peer=series.peer,
                    figures={c.name: over_rounds(series, c.metric) for c in self.columns},
                    ratio=ratio(series, reference, main.metric) if reference else None,
                    rounds=len(series.rounds),
                    failure=series.failure,
                )
            )

    def table(self) -> str:
        """The figures as a Markdown table: medians, and ratios with their range."""
        names = [column.name for column in self.columns]
        lines = [
            "| " + " | ".join(["lane", "peer", *names, f"ratio to {REFERENCE} (min-max)"]) + " |",
            "|" + "---|" * (len(names) + 3),
        ]
        lines += [self._line(row) for row in self.rows]
        lines += [f"\n{name}: {reason}" for name, reason in self.absent.items()]
        lines += [f"\n{row.lane} {row.peer}: {row.failure}" for row in self.rows if row.failure]
        return "\n".join(lines)

    def save(self, folder: Path = RESULTS, *, add: bool = False) -> list[Path]:
        """Write `<command>.json` and one chart; return where.

        Args:
            folder: where to.
            add: keep what the file says of other lanes, so that a long run can be made in parts.

        Raises:
            SystemExit: those were measured of another commit, or otherwise.
        """
        folder.mkdir(exist_ok=True)
        if add:
            self._keep_others(folder / f"{self.command}.json")
        data = {
            "command": self.command,
            "settings": self.settings,
            "machine": self.machine,
            "absent": self.absent,
            "rows": [asdict(row) for row in self.rows],
        }
        figures, picture = folder / f"{self.command}.json", folder / f"{self.command}.svg"
        figures.write_text(json.dumps(_rounded(data), indent=1) + "\n")
        picture.write_text(self._chart())
        return [figures, picture]

    def _keep_others(self, file: Path) -> None:
        if not file.exists():
            return
        data = json.loads(file.read_text())
        mine, theirs = (_basis(each) for each in (asdict(self), data))
        if mine != theirs:
            raise SystemExit(f"{file} was measured otherwise: {theirs} instead of {mine}")
        lanes = {str(row.lane) for row in self.rows}
        others = [_row(row) for row in data["rows"] if row["lane"] not in lanes]
        self.rows = sorted(others + self.rows, key=lambda row: str(row.lane))

    def _line(self, row: Row) -> str:
        cells = [str(row.lane), row.peer]
        for column in self.columns:
            found = row.figures[column.name]
            cells.append("-" if found is None else f"{found.middle:.{column.digits}f}")
        times = row.ratio
        cells.append(
            "-" if times is None else f"{times.middle:.2f} ({times.low:.2f}-{times.high:.2f})"
        )
        return "| " + " | ".join(cells) + " |"

    def _chart(self) -> str:
        main = next(column for column in self.columns if column.is_main)
        groups: dict[str, list[Bar]] = {}
        for row in self.rows:
            found = row.figures[main.name]
            if found is not None:
                bar = Bar(row.peer, found, f"{found.middle:.{main.digits}f}")
                groups.setdefault(str(row.lane), []).append(bar)
        title = f"{self.command}: {main.name}, {self.settings.get('what', '')}"
        return chart(title, groups)


def _basis(report: dict[str, Any]) -> dict[str, object]:
    """What parts of a run must have in common, as JSON has it."""
    settings = {key: value for key, value in report["settings"].items() if key != "rounds"}
    machine = {key: report["machine"].get(key) for key in _SAME_IN_ALL_PARTS}
    return dict(json.loads(json.dumps(_rounded(settings | machine))))


def _row(saved: dict[str, Any]) -> Row:
    figures = {name: _spread(found) for name, found in saved.pop("figures").items()}
    return Row(figures=figures, ratio=_spread(saved.pop("ratio")), **saved)


def _spread(saved: dict[str, float] | None) -> Spread | None:
    return Spread(**saved) if saved else None


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    return value
