import errno
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_disk import FaultDisk

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.control import Control
from torchdeck.core.errors import BusyError, LogsError
from torchdeck.core.events import (
    KINDS,
    CommandApplied,
    DeviceSampled,
    EpochCompleted,
    EventsDropped,
    EventsHeld,
    EventsReleased,
    Failure,
    FolderChanged,
    RolledBack,
    RunCompleted,
    RunEvent,
    RunFailed,
    StageStarted,
    StepCompleted,
    WarningRaised,
    from_json,
    to_json,
)
from torchdeck.core.runs.commands import FolderControl, send_command
from torchdeck.core.runs.index import RunIndex
from torchdeck.core.runs.layout import is_locked, new_run_id
from torchdeck.core.runs.line_format import decode_line, encode_line
from torchdeck.core.runs.reader import EventReader, follow, load_record, settle_status
from torchdeck.core.runs.record import RunRecord, record_from_json
from torchdeck.core.runs.writer import RunWriter, claim, reopen
from torchdeck.core.utils.files import write_atomically

Made = Callable[..., ExperimentConfig]
Train = Callable[..., list[RunEvent]]
TheRun = Callable[[], Path]


def step(seq: int, loss: float = 0.5) -> StepCompleted:
    return StepCompleted(
        seq=seq, phase="train", epoch=1, step=seq, batch=seq, batches=9, loss=loss, mean_loss=loss, accuracy=0.1,
        lr=0.1, images_per_second=1.0,
    )  # fmt: skip


def claimed(tmp_path: Path, name: str = "20260101-000000-x-abcd") -> RunWriter:
    return claim(tmp_path, name, {"preset": "x"})


def test_a_line_is_json_with_the_sequence_first_and_the_checksum_last() -> None:
    line = encode_line(step(7))
    body = json.loads(line)
    assert list(body)[:4] == ["seq", "t", "attempt", "kind"]
    assert list(body)[-1] == "crc"
    assert line.endswith(b"}\n")


def test_every_kind_of_event_comes_back_as_it_was(small: Made, train: Train) -> None:
    events = [
        *train(small()),
        StageStarted(message="reading", done=1, total=2),
        WarningRaised(message="mind [bold]this[/bold] \x1b[31m"),
        EventsHeld(since=4, reason="the disk is full"),
        EventsReleased(count=7, dropped=2),
        EventsDropped(count=3),
        RolledBack(step=9, to_step=4, lr_factor=0.5, reason="diverged at step 8: the loss is not finite"),
        CommandApplied(command="pause"),
        FolderChanged(run_id="another-name", checkpoints=(6, 3)),
        DeviceSampled(step=1, memory_used=3, utilization=0.5),
        RunFailed(error=Failure("crash", "ValueError", "no", "mend", "trace")),
        step(1, float("nan")),
        step(2, float("-inf")),
    ]
    assert {type(event).__name__ for event in events} == set(KINDS)
    for event in events:
        assert repr(decode_line(encode_line(event)[:-1])) == repr(event)


def test_json_has_no_nan() -> None:
    text = json.dumps(to_json(step(1, float("nan"))), allow_nan=False)
    assert '"loss": "nan"' in text


def test_an_unknown_kind_and_an_unknown_key_are_skipped() -> None:
    assert from_json({"kind": "FutureThing", "seq": 1}) is None
    body = {**to_json(step(1)), "new": 1}
    assert from_json(body) == step(1)


@pytest.mark.parametrize("seed", range(200))
def test_a_damaged_line_is_noticed(seed: int) -> None:
    dice = random.Random(seed)
    line = bytearray(encode_line(step(3))[:-1])
    position = dice.randrange(len(line))
    line[position] ^= 1 << dice.randrange(8)
    with pytest.raises(ValueError, match="damaged line"):
        decode_line(bytes(line))


def test_readers_take_whole_good_lines_and_count_the_rest(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    for number in range(3):
        writer.append(step(number))
    writer.close()
    path = writer.folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"seq": 1, "garbage\n' + b"\xff\xfe\n" + lines[2] + lines[1][:20])
    reader = EventReader(writer.folder)
    assert [event.seq for event in reader.read()] == [0, 2]
    assert reader.damaged == 2
    assert any("2 damaged lines" in warning for warning in load_record(writer.folder).warnings)


def test_a_torn_line_is_closed_before_the_next_one(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    writer.append(step(0))
    writer.close()
    path = writer.folder / "events.jsonl"
    path.write_bytes(path.read_bytes() + encode_line(step(1))[:30])
    again = reopen(writer.folder)
    again.append(step(2))
    again.close()
    assert [event.seq for event in EventReader(writer.folder).read()] == [0, 2]


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    reader = EventReader(writer.folder)
    writer.append(step(0))
    assert [event.seq for event in reader.read()] == [0]
    writer.append(step(1))
    assert [event.seq for event in reader.read()] == [1]
    assert list(reader.read()) == []
    writer.close()


@pytest.mark.parametrize("make", ["link", "pipe", "folder", "nothing"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "events.jsonl"
    match make:
        case "link":
            (tmp_path / "elsewhere").write_bytes(encode_line(step(0)))
            path.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            pass
    assert list(EventReader(folder).read()) == []


def test_following_ends_with_the_run(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    written = iter(
        [step(0), step(1), RunCompleted(seq=2, status="completed", reason="", epoch=1, step=1, train_seconds=0)]
    )
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        writer.append(next(written))

    assert [event.seq for event in follow(writer.folder, wait=wait)] == [0, 1, 2]
    assert len(waits) == 3
    writer.close()


def test_following_a_run_whose_writer_died_ends_where_the_file_ends(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    writer.append(step(0))
    writer.close()
    assert [event.seq for event in follow(writer.folder, wait=pytest.fail)] == [0]
    assert load_record(writer.folder).status == "died"


def test_following_reads_on_through_a_hand_over(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    writer.append(RunCompleted(seq=0, status="handed_over", reason="", epoch=0, step=0, train_seconds=0))
    ended = RunCompleted(seq=1, status="stopped", reason="", epoch=0, step=0, train_seconds=0)
    seen = [event.seq for event in follow(writer.folder, wait=lambda _: writer.append(ended))]
    assert seen == [0, 1]
    writer.close()


def handed_over(tmp_path: Path, t: float = 0.0) -> RunWriter:
    """A run that was handed over, and that nobody has taken up."""
    writer = claimed(tmp_path)
    writer.append(RunCompleted(seq=0, t=t, status="handed_over", reason="", epoch=0, step=0, train_seconds=0))
    writer.close()
    return writer


def test_following_waits_for_the_process_that_a_run_was_handed_over_to(tmp_path: Path) -> None:
    folder = handed_over(tmp_path).folder
    ended = RunCompleted(seq=1, status="completed", reason="", epoch=0, step=0, train_seconds=0)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 20:
            writer = reopen(folder)
            writer.append(ended)
            writer.close()

    assert [event.seq for event in follow(folder, wait=wait)] == [0, 1]


def test_following_ends_when_nobody_takes_up_a_run_that_was_handed_over(tmp_path: Path) -> None:
    waits: list[float] = []
    folder = handed_over(tmp_path).folder
    assert [event.seq for event in follow(folder, wait=waits.append)] == [0]
    assert 29 < sum(waits) < 31
    assert load_record(folder).status == "died"


def test_a_run_that_was_just_handed_over_is_not_called_dead(tmp_path: Path) -> None:
    folder = handed_over(tmp_path, time.time()).folder
    index = RunIndex(tmp_path)
    assert load_record(folder).status == "handed_over"
    write_atomically(folder / "run.json", b'{"schema": 1, "min_reader": 1}')
    assert index.rows()[0].status == "handed_over"
    record = load_record(folder)
    settle_status(record, False, lambda: time.time() + 31)
    assert record.status == "died"


def test_only_one_writer_holds_a_run(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    assert is_locked(writer.folder) is True
    with pytest.raises(BusyError, match=f"process {os.getpid()}"):
        reopen(writer.folder)
    writer.close()
    assert is_locked(writer.folder) is False
    reopen(writer.folder).close()


def test_a_directory_is_claimed_once(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    with pytest.raises(LogsError):
        claimed(tmp_path)
    writer.close()


def test_the_record_keeps_the_last_figures_of_every_device() -> None:
    record = RunRecord()
    for seq, (rank, use) in enumerate([(0, 0.1), (1, 0.2), (0, 0.3)]):
        record.apply(DeviceSampled(seq=seq, step=seq, rank=rank, utilization=use, memory_process=seq))
    again = record_from_json(record.to_json())
    assert {rank: sample.utilization for rank, sample in again.devices.items()} == {0: 0.3, 1: 0.2}
    assert again.device == record.devices[0]
    assert again.peak_memory == 2


def test_run_ids_tell_when_and_what_and_are_safe_as_names() -> None:
    name = new_run_id("../My Preset\n", 1_767_225_600.0)
    assert name.startswith("20260101-000000-my-preset-")
    assert len({new_run_id("x", 0.0) for _ in range(50)}) == 50


def test_commands_from_another_process_are_taken_once(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    now = [0.0]
    inbox = FolderControl(Control(), writer.folder, lambda: now[0])
    assert inbox.take() is None
    send_command(writer.folder, "pause")
    assert inbox.take() is None
    now[0] += 1
    assert inbox.take() == ("pause", "requested by another process")
    now[0] += 1
    assert inbox.take() is None
    send_command(writer.folder, "stop", "pruned: too slow")
    now[0] += 1
    assert inbox.take() == ("stop", "pruned: too slow")
    writer.close()


def test_what_an_earlier_attempt_was_asked_for_is_forgotten_when_the_next_one_has_the_lock(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    send_command(writer.folder, "stop")
    writer.close()
    again = reopen(writer.folder)
    send_command(again.folder, "pause")
    now = [0.0]
    inbox = FolderControl(Control(), again.folder, lambda: now[0])
    now[0] += 1
    assert inbox.take() == ("pause", "requested by another process")
    assert inbox.take() is None
    again.close()


def test_a_run_that_nobody_trains_cannot_be_asked(tmp_path: Path) -> None:
    writer = claimed(tmp_path)
    writer.close()
    with pytest.raises(LogsError, match="torchdeck resume"):
        send_command(writer.folder, "stop")


def test_a_run_stops_when_another_process_asks(small: Made, train: Train, the_run: TheRun) -> None:
    class AskAt:
        looks = 0

        def take(self) -> Any:
            self.looks += 1
            if self.looks == 3:
                send_command(the_run(), "stop")

        def wait(self, seconds: float) -> None:
            raise AssertionError(f"nothing is paused, yet {seconds} s were to be waited")

    events = train(small({"training.epochs": 200}), AskAt())
    assert isinstance(events[-1], RunCompleted)
    assert (events[-1].status, events[-1].reason) == ("stopped", "requested by another process")


def test_a_record_survives_json(small: Made, train: Train) -> None:
    record = RunRecord()
    for event in train(small()):
        record.apply(event)
        copy = record_from_json(json.loads(json.dumps(record.to_json())))
        assert copy == record


def test_an_event_folded_twice_changes_nothing(small: Made, train: Train) -> None:
    once, twice = RunRecord(), RunRecord()
    for event in train(small()):
        once.apply(event)
        twice.apply(event)
        twice.apply(event)
    assert once == twice


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1, "offset": 1e9, "record": {}}', b"\xff"])
def test_a_damaged_cache_is_no_loss(small: Made, train: Train, the_run: TheRun, content: bytes) -> None:
    train(small())
    wanted = load_record(the_run())
    (the_run() / "curves.json").write_bytes(content)
    (the_run() / "summary.json").write_bytes(content)
    assert load_record(the_run()) == wanted


def test_a_record_from_the_cache_and_the_tail_equals_one_from_all_events(
    small: Made, train: Train, the_run: TheRun
) -> None:
    train(small())
    wanted = load_record(the_run())
    (the_run() / "curves.json").unlink()
    assert load_record(the_run()) == wanted


def test_what_the_disk_will_not_take_waits_in_memory(tmp_path: Path) -> None:
    claimed(tmp_path).close()
    disk = FaultDisk()
    writer = reopen(tmp_path / "20260101-000000-x-abcd", disk)
    disk.at, disk.fault, disk.lasting = disk.operations + 1, errno.ENOSPC, 2
    writer.append(step(0))
    writer.append(step(1))
    assert (writer.unwritten, writer.problem) == (2, "the disk is full")
    writer.append(step(2))
    assert (writer.unwritten, writer.problem) == (0, "")
    writer.close()
    assert [event.seq for event in EventReader(writer.folder).read()] == [0, 1, 2]


def test_once_too_many_events_wait_the_oldest_steps_give_way_and_are_counted(tmp_path: Path) -> None:
    claimed(tmp_path).close()
    disk = FaultDisk()
    writer = RunWriter(tmp_path / "20260101-000000-x-abcd", os.open(os.devnull, os.O_RDONLY), disk, max_waiting=10)
    disk.at, disk.fault, disk.lasting = disk.operations + 1, errno.ENOSPC, 10**6
    for number in range(40):
        writer.append(WarningRaised(seq=number, message="!") if number in (3, 12) else step(number))
        assert writer.unwritten <= 10
    disk.lasting = 1
    writer.append(step(40))
    writer.close()
    read = list(EventReader(writer.folder).read())
    covered: list[int] = []
    for event in read:
        count = event.count if isinstance(event, EventsDropped) else 1
        covered += range(event.seq - count + 1, event.seq + 1)
    assert covered == list(range(41))
    assert [event.seq for event in read if isinstance(event, WarningRaised)] == [3, 12]
    assert [event.seq for event in read if isinstance(event, StepCompleted)][-4:] == [37, 38, 39, 40]


def test_an_epochs_losses_are_one_short_text() -> None:
    event = EpochCompleted(
        epoch=1, step=12_500, metrics={}, lr=0.1, images_per_second=1, train_seconds=1, seconds=1, best=True,
        step_losses=bytes(4 * 12_500),
    )  # fmt: skip
    assert len(encode_line(event)) < 70_000
