"""tui/terminal"""
