"""tui/screens/analyze"""
