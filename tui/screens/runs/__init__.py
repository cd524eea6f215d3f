"""tui/screens/runs"""
