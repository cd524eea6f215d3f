"""Runs in a process with null CUDA loaded only: test_null_cuda.py starts it."""

import os

import pytest

collect_ignore_glob = [] if "NULL_CUDA" in os.environ else ["test_*.py"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Nothing, in place of what the other tests do: each check has a process of its own."""
