"""tui/app"""
