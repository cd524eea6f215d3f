"""General helpers that know nothing of runs: files, locks, validation of untrusted values, timeouts, registries."""
