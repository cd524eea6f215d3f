"""The CSS variables that a chart takes its colours from, for apps of tests."""

INKS = ("#56b4e9", "#e69f00", "#2bc48a", "#f0e442", "#f07838", "#cc79a7", "#8da0cb", "#b0b7c3")
VARIABLES = {f"chart-{index}": ink for index, ink in enumerate(INKS)}
VARIABLES |= {"chart-axis": "#59636e", "chart-label": "#7d8792", "chart-rule": "#c0a060"}
