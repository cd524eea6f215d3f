"""The devices of a multi-device run: use, memory, temperature and power of each rank, and their mean use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text
from textual.content import Content
from textual.geometry import Size

from ...core.devices.rank_devices import RankDevice, combine_samples
from ...core.events import DeviceSampled
from ..format.rank_table import Inks, Row, lines_of, rank_rows
from ..format.values import safe
from ..widgets.styled_parts import StyledParts


class RanksPanel(StyledParts):
    """A line per rank, as far as there is room."""

    PARTS = "ranks"
    COMPONENT_CLASSES = {"ranks--bar", "ranks--track", "ranks--quiet"}  # noqa: RUF012
    DEFAULT_CSS = """
    RanksPanel { border: round $frame; padding: 0 1; }
    .ranks--bar { color: $accent; }
    .ranks--track { color: $track; }
    .ranks--quiet { color: $quiet; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[Row] = []
        self._whole = Row("all", "", None)
        self._found: Sequence[RankDevice] = ()
        self._samples: Mapping[int, Sequence[DeviceSampled]] = {}

    def show(
        self,
        name: str,
        found: Sequence[RankDevice],
        latest: Mapping[int, DeviceSampled],
        samples: Mapping[int, Sequence[DeviceSampled]],
    ) -> None:
        """Show the devices' name, and each rank's place, latest sample, and earlier samples."""
        self.border_title = Content(safe(name))  # pyright: ignore[reportAttributeAccessIssue]
        before = len(self._rows)
        self._rows = rank_rows(found, latest)
        self._whole = Row("all", "", combine_samples(latest, found))
        self._found, self._samples = found, samples
        self.refresh(layout=len(self._rows) != before)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's form
        return len(self._rows) + 2

    def render(self) -> Text:
        if self._whole.sample is None:
            return Text("no measurements yet", self._ink("quiet"))
        inks = Inks(self._ink("bar"), self._ink("track"), self._ink("quiet"), self.app.has_class("-ascii"))
        uses = _uses(self._found, self._samples, self.size.width)
        return Text("\n").join(lines_of(self._rows, self._whole, uses, *self.size, inks))


def _uses(found: Sequence[RankDevice], samples: Mapping[int, Sequence[DeviceSampled]], limit: int) -> list[float]:
    """The mean use of all devices over time, the newest last."""
    times = min((len(kept) for kept in samples.values()), default=0)
    take_over_run = [{rank: kept[-back] for rank, kept in samples.items()} for back in range(min(times, limit), 0, -1)]
    shown = [combine_samples(ranks, found) for ranks in take_over_run]
    return [(sample.utilization or 0.0) if sample else 0.0 for sample in shown]
