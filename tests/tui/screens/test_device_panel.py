"""The device's figures on the live page: the newest, as far as there is room, and what the use was."""

from __future__ import annotations

from dataclasses import replace

from app_driver import screen_text, until
from textual.app import App, ComposeResult

from torchdeck.core.events import DeviceSampled
from torchdeck.tui.live.device_panel import DevicePanel

GIB = 2**30


class Bench(App[None]):
    """The panel alone."""

    CSS = "DevicePanel { width: 100%; height: 100%; }"

    def compose(self) -> ComposeResult:
        yield DevicePanel()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"frame": "#404040", "track": "#404040", "quiet": "#808080"}

    @property
    def panel(self) -> DevicePanel:
        return self.query_one(DevicePanel)


def sample(use: float, run: int, power: float | None = None) -> DeviceSampled:
    return DeviceSampled(
        step=run, utilization=use, memory_used=4 * GIB, memory_total=8 * GIB, memory_process=run * GIB, power=power
    )


async def test_the_panel_shows_the_newest_figures_and_what_the_use_was() -> None:
    app = Bench()
    async with app.run_test(size=(60, 8)) as pilot:
        await until(pilot, lambda: "no measurements yet" in screen_text(app))
        app.panel.show("CPU", [sample(0.25, 1)])
        await until(pilot, lambda: "25%" in screen_text(app) and "1.0 GiB" in screen_text(app))
        assert "Device  CPU" in screen_text(app)
        app.panel.show("CPU", [sample(0.25, 1), sample(1.0, 2)])
        await until(pilot, lambda: "100%" in screen_text(app) and "2.0 GiB" in screen_text(app))
        assert "25%" not in screen_text(app)
        assert "▂█" in screen_text(app)


async def test_the_panel_tells_of_a_gpu_and_fits_what_room_there_is() -> None:
    app = Bench()
    async with app.run_test(size=(60, 8)) as pilot:
        app.panel.show("CPU", [sample(0.5, 1)])
        await until(pilot, lambda: "Device  CPU" in screen_text(app))
        app.panel.show("Example", [sample(0.5, 1, power=120.0)])
        await until(pilot, lambda: "GPU  Example" in screen_text(app) and "120 W" in screen_text(app))
        await pilot.resize_terminal(40, 4)
        app.panel.show("Example", [sample(0.75, 1, power=120.0)])
        await until(pilot, lambda: "75%" in screen_text(app) and "W" not in screen_text(app))
        await pilot.resize_terminal(60, 8)
        await until(pilot, lambda: "120 W" in screen_text(app))


async def test_power_is_told_with_its_limit_and_the_memory_as_the_driver_counts_it() -> None:
    app = Bench()
    async with app.run_test(size=(60, 10)) as pilot:
        told = replace(sample(0.5, 1, power=34.0), power_limit=35.0, memory_driver=3 * GIB)
        app.panel.show("Example", [told])
        await until(pilot, lambda: "34 of 35 W" in screen_text(app) and "smi" in screen_text(app))
        assert "3.0 GiB" in screen_text(app)
