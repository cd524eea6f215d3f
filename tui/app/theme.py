"""The app's themes, and the CSS variables of charts and pictures for every theme."""

from __future__ import annotations

from textual.theme import Theme

from ..charts.palette import ON_ANSI, ON_BLACK, ON_DARK, ON_LIGHT

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
"""The themes that the key d cycles through; the command palette offers all."""


def variables_for(theme: Theme | None) -> dict[str, str]:
    """The variables of charts and pictures for a theme that does not define them."""
    if theme is not None and theme.name.startswith("ansi"):
        return ON_ANSI
    return ON_DARK if theme is None or theme.dark else ON_LIGHT
