"""tui/charts"""
