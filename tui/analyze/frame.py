"""The border of the panels with a cursor: what their `DEFAULT_CSS` begins with."""


def framed(widget: str) -> str:
    """The rules of a bordered panel, for the widget class of this name; unscoped, for they name the app's `-ascii`."""
    return f"""
    {widget} {{
        width: 1fr;
        height: 1fr;
        padding: 0 1;
        border: round $chart-axis;
        border-title-color: $foreground;
        border-title-style: bold;
        border-subtitle-color: $chart-label;
    }}
    {widget}:focus {{ border: round $primary; }}
    .-ascii {widget} {{ border: ascii $chart-axis; }}
    .-ascii {widget}:focus {{ border: ascii $primary; }}
    """
