"""`python -m torchdeck.tui.cli`: run the command line."""

from .main import main

main()
