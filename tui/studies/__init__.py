"""tui/screens/studies"""
