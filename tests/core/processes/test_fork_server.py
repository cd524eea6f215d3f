"""Workers forked from a process that has torch loaded: they keep every promise of those that are started."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from polling import until

import torchdeck.core.processes.fork_client
from torchdeck.core.config import ExperimentConfig, to_plain
from torchdeck.core.devices.slots import Slot
from torchdeck.core.events import EpochCompleted, RunCompleted, RunStarted
from torchdeck.core.processes.fork_client import EXIT_CODE_UNKNOWN, ForkServer
from torchdeck.core.processes.launch import WorkerProcess, start_worker
from torchdeck.core.runs.index import read_header
from torchdeck.core.runs.reader import EventReader, follow, load_record
from torchdeck.core.utils.locks import is_held, take_lock

LONG = {"training.epochs": 100_000}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


class Nursery:
    """Begins workers in a folder and waits for their ends."""

    def __init__(self, folder: Path, server: ForkServer | None, small: Callable[..., ExperimentConfig]) -> None:
        self.folder, self.server, self.small = folder, server, small
        folder.mkdir()
        self.lock = take_lock(folder / "workers.lock")

    def begin(self, name: str, changes: Mapping[str, Any], slot: Slot) -> WorkerProcess:
        about = {"logs": str(self.folder), "data": str(self.folder), "run_id": name, "resume": False, "preset": "p"}
        about |= {"name": "", "tags": [], "reported": [], "study": None, "config": to_plain(self.small(changes))}
        worker = start_worker(about, self.folder / f"{name}.log", self.lock, slot, self.server)
        assert isinstance(worker, WorkerProcess)
        return worker

    def ended(self, worker: WorkerProcess) -> str:
        until(lambda: worker.ended)
        worker.close()
        return worker.exit_text()

    def trains(self, name: str) -> bool:
        return any(isinstance(event, EpochCompleted) for event in EventReader(self.folder / name).read())

    def pid(self, name: str) -> int:
        return json.loads((self.folder / name / "run.lock").read_text())["pid"]


@pytest.fixture
def nursery(tmp_path: Path, server: ForkServer, small: Callable[..., ExperimentConfig]) -> Nursery:
    return Nursery(tmp_path / "logs", server, small)


def test_a_forked_run_equals_one_in_a_process_of_its_own(nursery: Nursery) -> None:
    changes = {"training.threads": 2, "model.dropout": 0.5}
    forked = nursery.begin("forked", changes, Slot("cpu"))
    assert "exit code 0" in nursery.ended(forked)
    nursery.server = None
    assert "exit code 0" in nursery.ended(nursery.begin("started", changes, Slot("cpu")))
    told = [
        [(epoch.step_losses, epoch.metrics) for epoch in load_record(nursery.folder / name).epochs]
        for name in ("forked", "started")
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 3


def test_what_workers_are_forked_from_has_one_thread(nursery: Nursery, server: ForkServer) -> None:
    nursery.ended(nursery.begin("run", {}, Slot("cpu")))
    assert server._process
    assert len(os.listdir(f"/proc/{server._process.pid}/task")) == 1


def test_each_has_a_session_and_the_devices_of_its_slot(nursery: Nursery) -> None:
    first = nursery.begin("first", LONG, Slot("cuda 1", environment={"CUDA_VISIBLE_DEVICES": "7"}))
    second = nursery.begin("second", LONG, Slot("cpu"))
    until(lambda: nursery.trains("first") and nursery.trains("second"))
    assert os.getsid(nursery.pid("first")) == nursery.pid("first")
    first.close()
    second.close()
    until(lambda: first.ended and second.ended)
    seen = [read_header(nursery.folder / name)["environment"]["visible_devices"] for name in ("first", "second")]
    assert seen == ["7", os.environ.get("CUDA_VISIBLE_DEVICES")]


def test_one_that_is_left_alone_stops_with_a_checkpoint_and_frees_the_study(nursery: Nursery) -> None:
    worker = nursery.begin("run", LONG, Slot("cpu"))
    until(lambda: nursery.trains("run"))
    os.close(nursery.lock)
    assert is_held(nursery.folder / "workers.lock")
    worker.close()
    *_, last = follow(nursery.folder / "run")
    assert isinstance(last, RunCompleted)
    assert (last.status, last.reason) == ("stopped", "the process that started the run is gone")
    record = load_record(nursery.folder / "run")
    assert record.checkpoints[-1].step == record.step
    nursery.ended(worker)
    assert not is_held(nursery.folder / "workers.lock")


def test_one_that_is_killed_is_told_by_its_signal(nursery: Nursery) -> None:
    worker = nursery.begin("run", LONG, Slot("cpu"))
    until(lambda: nursery.trains("run"))
    os.kill(nursery.pid("run"), signal.SIGKILL)
    assert nursery.ended(worker) == "its process was killed by SIGKILL"


def test_what_one_prints_stands_in_its_console(nursery: Nursery) -> None:
    worker = nursery.begin("run", {"data.train_images": 20}, Slot("cpu"))
    assert "exit code 1" in nursery.ended(worker)
    failure = worker.failure()
    assert failure
    assert "20 training images" in failure.error.message
    assert "20 training images" in (nursery.folder / "run.log").read_text()


def test_without_the_server_its_workers_train_on_and_the_next_are_started(
    tmp_path: Path, small: Callable[..., ExperimentConfig]
) -> None:
    server = ForkServer()
    nursery = Nursery(tmp_path / "logs", server, small)
    worker = nursery.begin("run", LONG, Slot("cpu"))
    until(lambda: nursery.trains("run"))
    assert server._process
    os.kill(server._process.pid, signal.SIGKILL)
    until(lambda: server.is_gone)
    assert not worker.ended
    worker.send("stop", "enough")
    until(lambda: worker.ended)
    assert "the fork server are gone" in worker.exit_text()
    worker.close()
    assert load_record(nursery.folder / "run").reason == "enough"
    following = nursery.begin("next", {}, Slot("cpu"))
    assert "exit code 0" in nursery.ended(following)
    assert any(isinstance(event, RunStarted) for event in EventReader(nursery.folder / "next").read())


def test_a_server_that_cannot_begin_is_done_without(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchdeck.core.processes.fork_client, "MODULE", "core.nothing")
    nursery.server = ForkServer()
    lost = nursery.begin("run", {}, Slot("cpu"))
    until(lambda: lost.ended)
    # One that is gone before it is asked is done without at once.
    assert lost._process.returncode in (EXIT_CODE_UNKNOWN, 0)
    lost.close()
    assert nursery.server.fork({}, 1, None) is None
