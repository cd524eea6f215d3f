"""Widgets that several pages share, one per file; none knows a page."""
