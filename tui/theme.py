"""The colours of the app: three themes of its own, and the variables that charts and pictures use in every theme."""

from __future__ import annotations

from textual.theme import Theme

# Okabe and Ito's palette, adapted: told apart by colour-blind eyes too.
ON_DARK = {
    "chart-0": "#56b4e9",
    "chart-1": "#f0a030",
    "chart-2": "#2bc48a",
    "chart-3": "#f0e442",
    "chart-4": "#f07838",
    "chart-5": "#d68ab8",
    "chart-6": "#9aa8d8",
    "chart-7": "#b0b7c3",
    "chart-axis": "#59636e",
    "chart-label": "#7d8792",
    "chart-rule": "#c0a060",
    "heat-hit": "#2a6fb0",
    "heat-miss": "#d87a20",
    "track": "#2a323c",
    "quiet": "#8b949e",
    "frame": "#2f3944",
    "field": "#1a222c",
}
ON_LIGHT = {
    "chart-0": "#0072b2",
    "chart-1": "#b35c00",
    "chart-2": "#00805a",
    "chart-3": "#8a7a00",
    "chart-4": "#c0441a",
    "chart-5": "#a8437f",
    "chart-6": "#4a5aa8",
    "chart-7": "#5a6470",
    "chart-axis": "#98a2ad",
    "chart-label": "#66707b",
    "chart-rule": "#8a6d1f",
    "heat-hit": "#4a90d0",
    "heat-miss": "#e08a3c",
    "track": "#d5dbe2",
    "quiet": "#5f6973",
    "frame": "#c3cad2",
    "field": "#e8ecf1",
}
ON_BLACK = ON_DARK | {
    "chart-axis": "#ffffff",
    "chart-label": "#ffffff",
    "chart-rule": "#ffff00",
    "heat-hit": "#0060ff",
    "heat-miss": "#ff8000",
    "track": "#606060",
    "quiet": "#ffffff",
    "frame": "#ffffff",
    "field": "#202020",
}
ON_ANSI = {
    "chart-0": "ansi_bright_blue",
    "chart-1": "ansi_yellow",
    "chart-2": "ansi_green",
    "chart-3": "ansi_bright_yellow",
    "chart-4": "ansi_red",
    "chart-5": "ansi_magenta",
    "chart-6": "ansi_cyan",
    "chart-7": "ansi_default",
    "chart-axis": "ansi_default",
    "chart-label": "ansi_default",
    "chart-rule": "ansi_yellow",
    "heat-hit": "ansi_blue",
    "heat-miss": "ansi_red",
    "track": "ansi_bright_black",
    "quiet": "ansi_default",
    "frame": "ansi_bright_black",
    "field": "ansi_default",
}

THEMES = (
    Theme(
        name="torchdeck-dark",
        primary="#56b4e9",
        secondary="#2bc48a",
        accent="#56b4e9",
        success="#2bc48a",
        warning="#f0a030",
        error="#f0783c",
        foreground="#dbe2ea",
        background="#0d1116",
        surface="#0d1116",
        panel="#18212b",
        dark=True,
        variables=ON_DARK | {"block-cursor-background": "#1e3a56", "block-cursor-foreground": "#ffffff"},
    ),
    Theme(
        name="torchdeck-light",
        primary="#0072b2",
        secondary="#00805a",
        accent="#0072b2",
        success="#00805a",
        warning="#b35c00",
        error="#c0441a",
        foreground="#1d252d",
        background="#fbfcfd",
        surface="#fbfcfd",
        panel="#e6ebf0",
        dark=False,
        variables=ON_LIGHT | {"block-cursor-background": "#cfe3f5", "block-cursor-foreground": "#000000"},
    ),
    Theme(
        name="torchdeck-contrast",
        primary="#00d7ff",
        secondary="#00ff87",
        accent="#00d7ff",
        success="#00ff87",
        warning="#ffff00",
        error="#ff8787",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#000000",
        dark=True,
        variables=ON_BLACK | {"block-cursor-background": "#ffffff", "block-cursor-foreground": "#000000"},
    ),
)
CYCLE = ("torchdeck-dark", "torchdeck-light", "torchdeck-contrast", "ansi-dark")
"""What one key goes through; the palette has every theme there is."""


def variables_for(theme: Theme | None) -> dict[str, str]:
    """The variables of charts and pictures for a theme that does not define them itself."""
    if theme is not None and theme.name.startswith("ansi"):
        return ON_ANSI
    return ON_DARK if theme is None or theme.dark else ON_LIGHT
