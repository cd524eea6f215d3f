"""Texts of the Runs page: while it lists no runs, and the hint in the filter field."""

from __future__ import annotations

NO_RUNS = (
    "No runs yet.\n\nPick a preset in Setup (1) and start it with F5,\nor outside the app run: torchdeck run quickstart"
)


NO_MATCH = "No run matches the filter.\n\nPress / to change it."


HINT = "/ filter:  vgg  status:done  optimizer.lr<0.1  test/accuracy>80%  tag:paper"
