"""Train image classifiers and record what happens. Nothing in here knows of screens or of the command line."""

import os

# By default an OpenMP thread that waits for the others spins for milliseconds; next to any other busy process this made
# small networks ten times slower. A fraction of a millisecond is enough to reach the next layer.
# libgomp reads this once, when torch loads it.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")
