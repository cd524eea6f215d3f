"""tui/state"""
