"""Trains, and says what happens; knows nothing of screens."""

import os

# A compute thread that waits for its peers spins for milliseconds by default; beside any other busy process that made
# small networks ten times slower. A fraction of a millisecond lasts until the next layer comes.
# libgomp reads this once, when torch loads it.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")
