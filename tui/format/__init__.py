"""tui/format"""
