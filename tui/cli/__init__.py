"""The command line: commands, their options, and how they show progress and results."""
