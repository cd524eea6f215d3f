"""`python -m torchdeck.tui.cli`: the command line."""

from .main import main

main()
