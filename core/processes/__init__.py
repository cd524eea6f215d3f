"""Processes that train runs: worker, agent and ranks, the fork server, and how they are started and followed."""
