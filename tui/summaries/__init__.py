"""Runs and studies summarized as table columns, details and sentences, for pages, commands and reports alike."""
