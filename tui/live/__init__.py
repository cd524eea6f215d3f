"""tui/screens/live"""
