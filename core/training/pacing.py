"""Pace the training loop: when step events are due, device samples, and commands between batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

from ..control import CommandName, Inbox
from ..devices.torch_device import Sampler
from ..events import CommandApplied, DeviceSampled, RunEvent, WarningRaised
from .process_group import SINGLE, Ranks
from .state import Position

Clock = Callable[[], float]
DEVICE_SAMPLE_SECONDS = 1.0


class StopRequested(Exception):
    """A stop command, with its reason; `train` turns it into an outcome."""


@dataclass(slots=True)
class Pacer:
    """Decides when events are due, and applies commands.

    With several ranks the leader decides: all ranks meet at the same steps, at the interval that it announced last.
    """

    control: Inbox
    clock: Clock
    sample_every: float
    sampler: Sampler
    ranks: Ranks = SINGLE
    take_suspended_seconds: Callable[[], float] = lambda: 0.0
    """Returns the seconds that the process was suspended since the last call."""
    last_step: float = 0.0
    last_sample: float | None = None
    energy_counters: dict[int, float | None] = field(default_factory=dict[int, float | None])
    """The energy counter of each rank's device at the last sample."""
    paused_seconds: float = 0.0
    paused: bool = False
    stop_after_epoch: str | None = None
    steps_since_meeting: int = 0
    """Steps since the ranks last met."""
    meeting_interval: int = 1
    """Steps between two meetings."""

    def now(self) -> float:
        """Seconds on the clock, without time spent paused or suspended."""
        return self.clock() - self.paused_seconds

    def step_due(self) -> bool:
        """True when `sample_every` seconds have passed since it was last True."""
        if self.ranks.world > 1:
            return self._meet()
        now = self.clock()
        if now - self.last_step < self.sample_every:
            return False
        self.last_step = now
        return True

    def _meet(self) -> bool:
        """Whether the ranks meet at this step; if so, they agree on the next one, `sample_every` seconds from now."""
        self.steps_since_meeting += 1
        if self.steps_since_meeting < self.meeting_interval:
            return False
        now = self.clock()
        pace = (now - self.last_step) / self.steps_since_meeting
        self.meeting_interval = self.ranks.broadcast(max(1, round(self.sample_every / pace)) if pace > 0 else 1)
        self.steps_since_meeting, self.last_step = 0, now
        return True

    def sample(self, position: Position) -> Iterator[DeviceSampled]:
        """Sample the devices when the last samples are old; adds the energy since then to the position."""
        now = self.clock()
        passed = 0.0 if self.last_sample is None else now - self.last_sample
        if self.ranks.broadcast(self.last_sample is not None and passed < DEVICE_SAMPLE_SECONDS):
            return
        self.last_sample = now
        for rank, figures in enumerate(self.ranks.gather_values(asdict(self.sampler(position.step)))):
            sampled = DeviceSampled(**{**figures, "rank": rank})
            if (joules := self._joules(sampled, passed)) is not None:
                position.energy = (position.energy or 0.0) + joules
            yield sampled

    def _joules(self, sampled: DeviceSampled, passed: float) -> float | None:
        """Joules since the last sample: from the device's counter, else its present power times the seconds passed."""
        before, self.energy_counters[sampled.rank] = self.energy_counters.get(sampled.rank), sampled.energy
        if sampled.energy is not None:
            return max(0.0, sampled.energy - before) if before is not None else 0.0
        return None if sampled.power is None else sampled.power * passed

    def commands(self, step: int) -> Iterator[RunEvent]:
        """Apply waiting commands; blocks while paused, and raises StopRequested for a stop."""
        if self.steps_since_meeting:
            return
        if gap := self.take_suspended_seconds():
            self.paused_seconds += gap
            yield WarningRaised(message=f"the process was suspended for {gap:.0f} s")
        while (command := self.ranks.broadcast(self.control.take())) or self.paused:
            if command is None:
                before = self.clock()
                self.control.wait(0.2)
                self.paused_seconds += self.clock() - before
                continue
            name, reason = command
            yield CommandApplied(command=name, reason=reason, step=step)
            self._apply(name, reason)

    def _apply(self, name: CommandName, reason: str) -> None:
        match name:
            case "stop":
                raise StopRequested(reason or "a stop was requested")
            case "stop-after-epoch":
                self.stop_after_epoch = reason or "a stop after the epoch was requested"
            case "pause" | "unpause":
                self.paused = name == "pause"
            case "checkpoint" | "hand-over":
                pass  # the session saves the run when it sees the event
