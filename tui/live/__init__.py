"""The Live page: progress, charts, device figures and log of the active run."""
