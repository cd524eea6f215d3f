"""Run folders on disk: layout, log format, writer and reader, record, checkpoints, commands, and the list of runs."""
