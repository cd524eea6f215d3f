"""What the page of runs says where it lists none."""

from __future__ import annotations

NOTHING = (
    "No runs yet.\n\nPick a preset in Setup (1) and start it with F5,\n"
    "or leave the app and write: torchdeck run quickstart"
)


NO_MATCH = "No run matches the filter.\n\n/ changes it."


HINT = "/ filter:  vgg  status:done  optimizer.lr<0.1  test/accuracy>0.8  tag:paper"
