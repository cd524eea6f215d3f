"""tui/runs"""
