"""Image files: found in folders or by a list, and decoded to pixels."""
