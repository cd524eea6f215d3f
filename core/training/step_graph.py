"""The training step as a CUDA graph: captured once for whole batches, then replayed without the host's work.

What changes from step to step is copied into the memory that the graph reads: the raw batch here, the learning rate by
`set_learning_rate`. On a CPU, where tests compare it with eager steps, a replay calls the step itself on that memory.
"""

# pyright: reportPrivateImportUsage=false, reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..data.batches import RawBatch
from ..data.index_plan import IndexPlan
from ..errors import TorchdeckError
from .state import TrainingJob
from .step import EagerSteps, optimizer_step, train_step

EAGER_STEPS = 3
"""Steps on whole batches before the capture, in which libraries choose algorithms and allocate memory."""


class GraphError(TorchdeckError):
    """A step that must be captured cannot be."""


def open_steps(job: TrainingJob) -> EagerSteps:
    """The training steps of a job, replayed from a CUDA graph where the plan says so."""
    return GraphSteps(job) if job.plan.captures_steps else EagerSteps(job)


class GraphSteps(EagerSteps):
    """The training steps of a job: eager at first and on short batches, replayed from a CUDA graph otherwise.

    The capture executes nothing, so that it changes neither the job nor the random state. Where it fails, all steps
    are eager, and a warning has the reason.
    """

    def __init__(self, job: TrainingJob) -> None:
        super().__init__(job)
        self._size = job.plan.config.training.batch_size
        self._stream = torch.cuda.Stream(job.plan.device) if job.plan.device.type == "cuda" else None
        self._eager_steps = 0
        self._failed = False
        self._input: RawBatch | None = None
        self._inputs: list[Tensor] = []
        """The tensors of the raw batch that the graph reads."""
        self._replay: Callable[[], object] | None = None

    def restart(self) -> None:
        self._eager_steps, self._replay = 0, None

    def of_epoch(self, plan: IndexPlan, first_batch: int) -> Iterator[Callable[[], object]]:
        for raw in self._job.train_batches.raw(plan, self._size, first_batch):
            yield partial(self._step, raw)

    def _step(self, raw: RawBatch) -> None:
        if self._failed or len(raw.labels) < self._size:
            self._eager(raw)
        elif self._eager_steps < EAGER_STEPS:
            self._eager_steps += 1
            self._on_stream(raw)
        elif self._replay or self._captured(raw):
            self._replayed(raw)
        else:
            self._eager(raw)

    def _eager(self, raw: RawBatch) -> None:
        train_step(self._job, self._job.train_batches.images(raw), raw.labels)

    def _on_stream(self, raw: RawBatch) -> None:
        """An eager step on the stream of the capture, whose libraries' memory is then there."""
        if self._stream is None:
            self._eager(raw)
            return
        current = torch.cuda.current_stream(self._job.plan.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._eager(raw)
            # What the step leaves to be counted must not be used by two streams.
            self._job.tally.flush()
        current.wait_stream(self._stream)

    def _replayed(self, raw: RawBatch) -> None:
        assert self._replay is not None
        torch._foreach_copy_(self._inputs, raw.tensors())
        self._job.tally.advance()
        self._replay()

    def _captured(self, raw: RawBatch) -> bool:
        """Capture the step; returns whether it succeeded.

        Raises:
            GraphError: it failed, and the settings ask for a graph.
        """
        self._input = raw.clone()
        self._inputs = self._input.tensors()
        self._job.tally.flush()
        if self._stream is None:
            self._replay = self._step_on_input
            return True
        generator = torch.cuda.default_generators[self._stream.device_index]
        random = generator.clone_state()
        try:
            self._replay = self._capture(self._stream)
        except RuntimeError as error:
            generator.graphsafe_set_state(random)
            self._give_up(_first_cause(error))
        return not self._failed

    def _capture(self, stream: torch.cuda.Stream) -> Callable[[], object]:
        # The gradients of the last step would stay in memory beside those of the graph.
        self._job.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self._step_on_input()
        return graph.replay

    def _step_on_input(self) -> None:
        job, raw = self._job, self._input
        assert raw is not None
        loss, logits, skipped = optimizer_step(job, job.train_batches.images(raw), raw.labels)
        job.tally.add_on_device(loss, logits, raw.labels, skipped)

    def _give_up(self, reason: str) -> None:
        """Continue with eager steps, after removing what the failed capture left."""
        if self._job.plan.config.training.cuda_graph == "on":
            raise GraphError(f"the training step cannot be captured: {reason}", "use training.cuda_graph=auto")
        self.warnings.append(f"training steps run without a CUDA graph, because capturing one failed: {reason}")
        self._failed = True
        self._input, self._inputs = None, []
        self._job.optimizer.zero_grad(set_to_none=True)
        self._job.scaler.abandon_step()


def _first_cause(error: BaseException) -> str:
    """The first line of the first error; the end of a failed capture raises another."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).splitlines()[0]
