"""tui/screens/compare"""
