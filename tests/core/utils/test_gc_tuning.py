"""The search for garbage."""

import subprocess
import sys

CYCLE = """
from torchdeck.core.utils.gc_tuning import collect_rarely
class Told:
    def __del__(self): print("searched")
{call}
told = Told()
told.self = told
del told
"""


def ended(call: str) -> str:
    """What a process prints that leaves a cycle behind."""
    command = [sys.executable, "-c", CYCLE.format(call=call)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_process_that_ends_is_not_searched_for_what_goes_with_it() -> None:
    assert ended("") == "searched\n"
    assert ended("collect_rarely()") == ""


def test_triton_is_torn_down_which_would_list_what_it_finds_still_there() -> None:
    assert ended("import sys; sys.modules['triton'] = sys; collect_rarely()") == "searched\n"
