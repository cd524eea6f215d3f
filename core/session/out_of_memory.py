"""Out of memory: recognise it among other failures, free memory, and suggest a batch size that fits."""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import replace

import torch

from ..devices.torch_device import free_memory, peak_memory
from ..events import Failure
from ..runs.record import RunRecord
from ..training.malloc import give_back_memory
from ..training.plan import Plan

USABLE_SHARE = 0.9
"""Share of the free memory that a suggested batch size uses."""
FOREIGN_SHARE = 0.25
"""Share of a GPU's memory from which its use by other programs is mentioned."""
_EXHAUSTED = re.compile(r"DefaultCPUAllocator|out of memory|STATUS_ALLOC_FAILED", re.IGNORECASE)
"""Messages of the CPU allocator; of the CUDA runtime and NCCL; of cuBLAS, cuDNN and cuSOLVER."""
MAX_QUOTE_LENGTH = 200
"""Characters of the original error message that are quoted."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out; torch has a class of its own only for its CUDA allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_EXHAUSTED.search(str(error)))


def release_memory() -> None:
    """Return cached memory to the device and the system."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    give_back_memory()


def images_that_fit(plan: Plan, free: int, peak: int = 0) -> int:
    """Images at a time that can be trained on in `free` bytes: a power of two below what failed; 0 where none can.

    `peak`, the bytes that the failed run used, corrects the plan's estimate.
    """
    memory, failed = plan.memory_by, plan.images_at_once
    per_image = max(memory.per_image + memory.cudnn_per_image, (peak - memory.fixed - memory.workspace) / failed)
    # With accumulation the gradients of earlier parts are in memory as well.
    return _power_of_two((USABLE_SHARE * free - memory.training(0, accumulation=2)) / max(1, per_image), failed)


def evaluated_that_fit(plan: Plan, free: int) -> int:
    """The same for images that are evaluated at once; at least 1."""
    memory, failed = plan.memory_by, plan.config.training.evaluation_batch_size
    assert isinstance(failed, int)
    return max(1, _power_of_two((USABLE_SHARE * free - memory.evaluation(0)) / max(1, memory.per_evaluated), failed))


def _power_of_two(room: float, failed: int) -> int:
    """The largest power of two within `room` that is at most half of what failed; 0 where there is none."""
    images = int(min(room, failed / 2))
    return 2 ** int(math.log2(images)) if images >= 1 else 0


def with_advice(failure: Failure, record: RunRecord, plan: Plan | None) -> Failure:
    """A failure, with a suggested batch size where memory ran out; call it once the memory is freed."""
    if failure.kind != "memory" or plan is None or record.status not in ("running", "paused"):
        return failure
    last = record.steps[-1] if record.steps else None
    what, hint = _advice(plan, last is not None and (last.phase == "evaluate" or last.batch == last.batches))
    quoted = textwrap.shorten(failure.message.splitlines()[0], MAX_QUOTE_LENGTH, placeholder=" ...")
    return replace(failure, message=f"out of memory {what} ({quoted})", hint=hint + _others(plan.device))


def _others(device: torch.device) -> str:
    """A hint where other programs hold much of a GPU's memory."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    held = total - free - torch.cuda.memory_reserved(device)
    if held < FOREIGN_SHARE * total:
        return ""
    return (
        f"; or free some of the GPU's memory, of which {held / 2**30:.0f} of {total / 2**30:.0f} GiB are in use"
        " (nvidia-smi lists the programs)"
    )


def _advice(plan: Plan, evaluating: bool) -> tuple[str, str]:
    """What failed, and the hint for it."""
    training = plan.config.training
    if evaluating:
        size = training.evaluation_batch_size
        assert isinstance(size, int)
        fits = evaluated_that_fit(plan, free_memory(plan.device))
        return f"evaluating {size} images at once", f"set training.evaluation_batch_size={fits}"
    on_gpu = plan.device.type == "cuda"
    fits = images_that_fit(plan, free_memory(plan.device), peak_memory(plan.device) if on_gpu else 0)
    what = f"training on {plan.images_at_once} images at once"
    if not fits:
        return f"{what}, and not even one would fit", "choose a smaller model, or set data.source=streamed"
    parts = math.ceil(training.batch_size / plan.ranks / fits)
    hint = f"set training.batch_size={fits * plan.ranks}, or training.accumulation={parts}, which keeps the batch"
    return f"{what}; {fits} would fit", hint
