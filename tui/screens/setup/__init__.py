"""tui/screens/setup"""
