"""The terminal below the app: non-blocking output, restored settings, signals, captured output, exit codes."""
