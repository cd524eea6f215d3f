"""Numbers no chart was made for (not finite, enormous, negative) are gaps or kept within bounds; nothing falls over."""

import random
import warnings
from collections.abc import Callable

import numpy as np
from fault_counts import Faults
from small_runs import Clock

from torchdeck.core.events import (
    DeviceSampled,
    EpochCompleted,
    RunCompleted,
    RunEvent,
    RunStarted,
    StepCompleted,
    stamp,
)
from torchdeck.core.results.curves import AXES
from torchdeck.core.runs.record import RunRecord, summarize
from torchdeck.tui.charts.drawing import View, draw
from torchdeck.tui.charts.half_blocks import filter_images
from torchdeck.tui.charts.run_series import Ghost, accuracy_lines, accuracy_note, loss_lines, loss_note, reported_rules
from torchdeck.tui.format.bars import bar, epoch_seconds_left, images_per_second, run_seconds_left, sparkline
from torchdeck.tui.format.event_lines import lines_of
from torchdeck.tui.format.values import count, duration, figure, flops, moment, percent, size

TOLD = [float("nan"), float("inf"), float("-inf"), 1e299, -1e299, 1e-308, 0.0, -0.0, -1.0, 1.0, 0.5, 1e30, 3e38]
"""What a log can hold: its readers take no greater number for one."""
EXTREMES = [float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 1e-308, 0.0, -0.0, -1.0, 1.0, 0.5, 1e30, 3e38]


def started(draw_from: random.Random) -> RunStarted:
    return RunStarted(
        run_id="20270115-080000-x-aaaa", resumed_from=None, preset="x", name="",
        reported=({"metric": "test/accuracy", "at": "best", "value": draw_from.choice(TOLD)},), config={},
        device="cpu", device_name="CPU", parameters=1, forward_flops=1, epochs=4, steps_per_epoch=3, train_images=9,
        test_images=3, class_names=("a", "b"), chosen_on="test", reproducible="exact",
    )  # fmt: skip


def wild(draw_from: random.Random) -> list[RunEvent]:
    """A run whose every figure is extreme."""

    def any_number() -> float:
        return draw_from.choice(TOLD)

    events: list[RunEvent] = [started(draw_from)]
    for epoch in range(1, draw_from.randint(1, 4)):
        names = [f"{split}/{what}" for split in ("train", "test", "validation") for what in ("loss", "accuracy")]
        with np.errstate(over="ignore"):
            losses = np.array([any_number() for _ in range(3)]).astype("<f4").tobytes()
        events.append(EpochCompleted(
            epoch=epoch, step=3 * epoch, metrics={name: any_number() for name in names}, lr=any_number(),
            images_per_second=any_number(), train_seconds=any_number(), seconds=any_number(),
            best=draw_from.random() < 0.5, step_losses=losses, energy=any_number(),
        ))  # fmt: skip
    for batch in range(draw_from.randint(0, 3)):
        events.append(StepCompleted(
            phase=draw_from.choice(["train", "evaluate"]), epoch=len(events), step=3 * len(events), batch=batch,
            batches=3, loss=any_number(), mean_loss=any_number(), accuracy=any_number(), lr=any_number(),
            images_per_second=any_number(), interval_loss=any_number(),
        ))  # fmt: skip
    events.append(DeviceSampled(step=1, utilization=any_number(), temperature=any_number(), power=any_number()))
    if draw_from.random() < 0.3:
        seconds = any_number()
        ending = RunCompleted(status="completed", reason="done", epoch=3, step=9, train_seconds=seconds)
        events.append(ending)
    return [stamp(event, seq=number, t=any_number(), attempt=1) for number, event in enumerate(events)]


def test_a_run_of_extreme_figures_is_drawn_and_told(faults: Faults, soak: int) -> None:
    for seed in range(500 * soak):
        faults("chart values")
        draw_from, record = random.Random(seed), RunRecord()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for event in wild(draw_from):
                record.apply(event)
                assert all(line.isprintable() for line in lines_of(event, record))
            ghost, axis = Ghost("20270115-080000-x-bbbb", record), draw_from.choice(AXES)
            view = View(
                draw_from.randint(0, 60), draw_from.randint(0, 20), percent=draw_from.random() < 0.5,
                log=draw_from.random() < 0.5, smoothing=draw_from.choice([0.0, 0.9]),
            )  # fmt: skip
            for lines in (loss_lines(record, axis), accuracy_lines(record, axis, ghost)):
                rows = draw(lines, reported_rules(record), view).rows
                assert [len(row) for row in rows] == [view.width] * view.height, seed
            assert isinstance(loss_note(record) + accuracy_note(record, ghost), str)
            for left in (epoch_seconds_left(record), run_seconds_left(record)):
                assert "-" not in duration(left).removeprefix("-"), (seed, left)
            assert count(images_per_second(record))
            summarize(record)


def test_extreme_values_have_a_text_and_a_bar(faults: Faults, soak: int) -> None:
    shown: list[Callable[[float], object]] = [
        percent, count, size, flops, duration, moment, lambda value: figure("test/loss", value),
        lambda value: figure("test/accuracy", value), lambda value: bar(10, value, "red", "dim"),
        lambda value: sparkline([value, 0.5], 4),
    ]  # fmt: skip
    for value in (*EXTREMES, *(random.Random(seed).uniform(-1e9, 1e9) for seed in range(20 * soak))):
        for show in shown:
            faults("chart values")
            assert "\n" not in str(show(value))


def test_filters_of_extreme_weights_are_pictures(faults: Faults, soak: int) -> None:
    for seed in range(200 * soak):
        faults("chart values")
        draw_from = np.random.default_rng(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pictures = filter_images(draw_from.choice(EXTREMES, (3, int(draw_from.choice([1, 3, 4])), 5, 5)), "each")
        assert pictures.dtype == np.uint8


def test_no_time_left_is_negative_when_a_log_says_so(faults: Faults) -> None:
    clock = Clock()
    record = RunRecord()
    for event in wild(random.Random(3)):
        record.apply(stamp(event, seq=event.seq, t=-clock(), attempt=1))
    faults("chart values")
    left = run_seconds_left(record)
    assert left is None or not left < 0
