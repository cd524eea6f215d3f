"""tui/studies"""
