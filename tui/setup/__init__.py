"""The Setup page: pick a preset, edit its settings, preview the plan, and start."""
