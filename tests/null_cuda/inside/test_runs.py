"""Whole runs on a GPU: their waits for the device, the second GPU, deterministic algorithms, compiled steps."""

from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_process import bytes_on, counts, ends, forked, go_on, small, stops_and_resumes, train

from torchdeck.core.config import ExperimentConfig
from torchdeck.core.events import RunEvent, RunFailed, RunStarted, StepCompleted, WarningRaised
from torchdeck.core.training import compiled, step_graph


def test_accumulation_clipping_lookahead_and_held_out_validation_work_together(tmp_path: Path) -> None:
    changes = {"training.accumulation": 3, "training.gradient_clipping": 1.0, "training.lookahead": 2}
    held_out = {"data.validation": "held-out", "data.validation_fraction": 0.34, "data.train_images": 294}
    stops_and_resumes(tmp_path, "resnet9", {**changes, **held_out})


def streamed_on_the_second(folder: Path, resumed: bool) -> tuple[list[RunEvent], int, int]:
    if resumed:
        return go_on(folder), bytes_on(0), bytes_on(1)
    config = small("speedrun-94", {"data.source": "streamed", "training.device": "cuda:1"})
    return train(config, folder, 2), bytes_on(0), bytes_on(1)


def test_a_run_on_the_second_gpu_leaves_nothing_on_the_first(tmp_path: Path) -> None:
    for resumed in (False, True):
        events, first, second = forked(streamed_on_the_second, tmp_path, resumed, NULL_CUDA_DEVICES="2")
        ends(events, *(("completed", 4) if resumed else ("stopped", 2)))
        assert first == 0
        assert second > 0


def waits_between_events(config: Any, folder: Path) -> list[int]:
    """The waits from each step's event to the next's, in training."""
    marks: list[int] = []
    train(config, folder, watch=lambda event: isinstance(event, StepCompleted) and marks.append(counts().waits))
    return [after - before for before, after in pairwise(marks)][4:10]


@pytest.mark.parametrize("changes", [{}, {"training.precision": "fp16"}, {"data.source": "streamed"}])
@pytest.mark.parametrize("graph", ["off", "on"])
def test_a_step_whose_event_is_due_waits_once(graph: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """The step of the capture is before these."""
    config = small("resnet9", {"training.cuda_graph": graph, **changes}, steps=12)
    assert Counter(forked(waits_between_events, config, tmp_path)) == {1: 6}


def waits_of_epochs(config: ExperimentConfig, folder: Path) -> list[int]:
    """The waits of each epoch after the first, from the event of its last step to that of the next epoch's."""
    marks: list[int] = []

    def mark(event: RunEvent) -> None:
        if isinstance(event, StepCompleted) and event.phase == "train" and event.batch == event.batches:
            marks.append(counts().waits)

    train(config, folder, watch=mark, sample_every=1e9)
    return [after - before for before, after in pairwise(marks)][1:]


@pytest.mark.parametrize("changes", [{"training.precision": "fp16"}, {"data.source": "streamed"}])
def test_the_end_of_an_epoch_waits_seldom(changes: dict[str, Any], tmp_path: Path) -> None:
    config = small("resnet9", {"training.epochs": 4, **changes}, steps=4)
    found = forked(waits_of_epochs, config, tmp_path)
    assert len(found) == 2
    assert max(found) <= 10, found


def with_a_wait_in_each_step(config: ExperimentConfig, folder: Path) -> list[RunEvent]:
    real = step_graph.optimizer_step

    def waiting(*arguments: Any) -> Any:
        loss, *rest = real(*arguments)
        loss.item()
        return loss, *rest

    step_graph.optimizer_step = waiting
    return train(config, folder)


@pytest.mark.parametrize("setting", ["auto", "on"])
def test_a_step_that_cannot_be_captured_runs_without_a_graph(setting: str, tmp_path: Path) -> None:
    """Its network has dropout: a failed capture must leave the random state usable."""
    config = small("lenet-dropout", {"training.cuda_graph": setting}, steps=6)
    events = forked(with_a_wait_in_each_step, config, tmp_path)
    if setting == "auto":
        (warning,) = (event.message for event in events if isinstance(event, WarningRaised))
        assert "without a CUDA graph" in warning
        assert "not permitted when stream is capturing" in warning
        ends(events, "completed", 7)
    else:
        assert isinstance(events[-1], RunFailed)
        assert "training.cuda_graph=auto" in events[-1].error.hint


def trained_deterministically(preset: str, folder: Path) -> tuple[list[RunEvent], bool, bool]:
    """The events of a run, and whether matrix products and convolutions in fp32 used TF32."""
    events = train(small(preset, {"training.deterministic": True}), folder)
    return events, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("preset", ["resnet18", "speedrun-96", "speedrun-cpu"])
def test_deterministic_algorithms_train_a_preset(preset: str, tmp_path: Path) -> None:
    events, *tensor_float_32 = forked(trained_deterministically, preset, tmp_path)
    ends(events, "completed", 4)
    assert tensor_float_32 == [False, False]


def test_a_run_is_handed_over_to_a_new_process(tmp_path: Path) -> None:
    ends(forked(partial(train, command="hand-over"), small("resnet9"), tmp_path, 2), "handed_over", 2)
    ends(forked(go_on, tmp_path), "completed", 4)


def environment_of(config: ExperimentConfig, folder: Path) -> dict[str, Any]:
    (started,) = (event for event in train(config, folder) if isinstance(event, RunStarted))
    return dict(started.environment)


def test_a_run_records_what_its_device_can(tmp_path: Path) -> None:
    found = forked(environment_of, small("lenet"), tmp_path)
    assert found["capability"] == "9.0"
    assert {"driver", "cudnn"} <= found.keys()


def trained_compiled(config: Any, folder: Path) -> tuple[list[RunEvent], int]:
    """Compiled to CUDA graphs by torch's own manager, without Triton: graphs captured beside the events."""
    real = torch.compile
    compiled.torch.compile = lambda model, **_: real(model, backend="cudagraphs", dynamic=False)
    return train(config, folder), torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_compiled_steps_keep_their_outputs_and_few_shapes(tmp_path: Path) -> None:
    """Parts of a batch, views of an image, short last batches of both, fp32: an output must outlive the next replay."""
    changes = {
        "training.compile": True,
        "training.accumulation": 3,
        "training.precision": "fp32",
        "training.test_time": "mirror-shift",
        "training.epochs": 2,
    }
    events, graphs = forked(trained_compiled, small("resnet9", changes), tmp_path, NULL_CUDA_CACHING="1")
    ends(events, "completed", 8)
    assert graphs == 3
