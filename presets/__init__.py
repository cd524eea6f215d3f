"""Presets: one experiment a TOML file."""
