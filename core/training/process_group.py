"""The processes that train one run together: what they tell each other, and the one that speaks for them.

Everything here but `rank` and `world` is done by all of them at the same point, or by none.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ..data.index_plan import Shard
from ..errors import InputError

PREPARE_TIMEOUT = timedelta(days=1)
"""The longest that the others wait for the leader to have the data ready."""

OPEN_PORTS = (
    "the machines of this run meet on TCP ports without authentication: whoever reaches them can run code as you, so"
    " the network between them must be trusted"
)

Value = TypeVar("Value")


class Ranks:
    """One process alone; given a world it does the share of one of several, without the others, to be timed."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever starts the run should know of how its processes talk to each other."""
        return ()

    @property
    def is_leader(self) -> bool:
        """Whether this is the rank that writes the run's directory and takes its commands."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This rank's part of every batch."""
        return Shard(self.rank, self.world)

    def broadcast(self, value: Value) -> Value:
        """The leader's value, of JSON's types, for all."""
        return value

    def gather_values(self, value: Value) -> list[Value]:
        """The value of each rank, of JSON's types, for all."""
        return [value]

    def sum_in_place(self, tensor: Tensor) -> None:
        """Put the sum over all ranks in the tensor's place."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of each rank, all of one shape."""
        return [tensor]

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give all ranks the leader's running statistics."""

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients averaged over the ranks, and the leader's weights."""
        return model

    def wait_for_leader(self, what: str) -> None:
        """Let the leader come this far before the others go on."""

    def shut_down(self) -> None:
        """Say goodbye to the others."""


SINGLE = Ranks()


class Group(Ranks):
    """A process of several, as torch's launcher started it."""

    def __init__(self, rank: int, world: int, device: torch.device, timeout: float, store_file: Path | None) -> None:
        """Meet the others; whoever does not answer for `timeout` seconds is given up.

        The ranks of one machine meet in a file of a folder that only this account can enter; without one they meet at
        the TCP address that the launcher put into the environment.

        Raises:
            RuntimeError: they do not come.
        """
        super().__init__(rank, world)
        self._device, self._store_file = device, store_file
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        # Words go over the network's sockets, never through the GPU, which would have to be waited for.
        backend, limit = "cpu:gloo,cuda:nccl" if on_gpu else "gloo", timedelta(seconds=timeout)
        if store_file is None:
            dist.init_process_group(backend, timeout=limit)
            return
        store = dist.FileStore(str(store_file), world)  # pyright: ignore[reportPrivateImportUsage]
        store.set_timeout(limit)
        dist.init_process_group(backend, timeout=limit, store=store, rank=rank, world_size=world)

    @property
    def warnings(self) -> tuple[str, ...]:
        return () if self._store_file else (OPEN_PORTS,)

    def broadcast(self, value: Value) -> Value:
        content = json.dumps(value).encode() if self.is_leader else b""
        length = torch.tensor(len(content))
        dist.broadcast(length, 0)
        words = torch.frombuffer(bytearray(content or bytes(int(length))), dtype=torch.uint8)
        dist.broadcast(words, 0)
        return value if self.is_leader else json.loads(words.numpy().tobytes())

    def gather_values(self, value: Value) -> list[Value]:
        content = json.dumps(value).encode()
        lengths = self.gather(torch.tensor([len(content)]))
        longest = int(torch.cat(lengths).max())
        words = self.gather(torch.frombuffer(bytearray(content.ljust(longest)), dtype=torch.uint8))
        return [json.loads(word.numpy().tobytes()) for word in words]

    def sum_in_place(self, tensor: Tensor) -> None:
        dist.all_reduce(tensor)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        found = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(found, tensor)
        return found

    def broadcast_buffers(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)

    def wrap(self, model: nn.Module) -> nn.Module:
        # The running statistics are copied when they are used, once an epoch, not at every step.
        on = [self._device] if self._device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=on, broadcast_buffers=False, gradient_as_bucket_view=True)

    def wait_for_leader(self, what: str) -> None:
        store = dist.distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
        if self.is_leader:
            store.set(what, "")
        else:
            store.wait([what], PREPARE_TIMEOUT)

    def shut_down(self) -> None:
        dist.destroy_process_group()


def is_connection_loss(failure: str) -> bool:
    """Whether a failure's words only say that another rank did not answer."""
    return any(word in failure for word in _CONNECTION_LOSS)


_CONNECTION_LOSS = (
    "[/pytorch/third_party/gloo",
    "gloo/transport",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "timed out",
    # Of a store in a file.
    "Wait timeout",
    "Timeout waiting",
    "NCCL",
    "ProcessGroup",
    "DistStoreError",
    "DistNetworkError",
    "RendezvousConnectionError",
)


def check_equal(ranks: Ranks, facts: Any, what: str) -> None:
    """Make sure that all ranks see the same.

    Raises:
        InputError: they do not.
    """
    if len({json.dumps(told, sort_keys=True) for told in ranks.gather_values(facts)}) > 1:
        raise InputError(f"the machines of the run do not have the same {what}", "give them one shared folder")
