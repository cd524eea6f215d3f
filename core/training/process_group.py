"""The process group of a run: collective operations between its ranks, over torch.distributed.

All methods are collective: every rank calls them at the same point, or none does.
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
"""How long the other ranks wait for the leader to prepare the data."""

OPEN_PORTS = (
    "the machines of this run meet on TCP ports without authentication: anyone who reaches them can run code as you, so"
    " the network between them must be trusted"
)

Value = TypeVar("Value")


class Ranks:
    """A single process. With `world` > 1 it does the share of one of several ranks without the others, for timing."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the user about the communication between the processes."""
        return ()

    @property
    def is_leader(self) -> bool:
        """Whether this is the rank that writes the run folder and receives commands."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This rank's part of every batch."""
        return Shard(self.rank, self.world)

    def broadcast(self, value: Value) -> Value:
        """The leader's value on all ranks; of JSON's types."""
        return value

    def gather_values(self, value: Value) -> list[Value]:
        """The values of all ranks, in rank order; of JSON's types."""
        return [value]

    def sum_in_place(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all ranks."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, which must have one shape."""
        return [tensor]

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copy the leader's buffers, such as running statistics, to all ranks."""

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with the leader's weights, and with gradients averaged over the ranks."""
        return model

    def wait_for_leader(self, what: str) -> None:
        """Block the other ranks until the leader has come this far."""

    def shut_down(self) -> None:
        """Leave the process group."""


SINGLE = Ranks()


class Group(Ranks):
    """One rank of several, as started by torch's launcher."""

    def __init__(self, rank: int, world: int, device: torch.device, timeout: float, store_file: Path | None) -> None:
        """Join the process group; a rank that does not answer for `timeout` seconds counts as dead.

        The ranks of one machine meet in a file of a folder that only this account can enter; without one they meet at
        the TCP address that the launcher put into the environment.

        Raises:
            RuntimeError: the other ranks do not join.
        """
        super().__init__(rank, world)
        self._device, self._store_file = device, store_file
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        # Values are exchanged over sockets (gloo), never through the GPU, which would have to be synchronised.
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
        # Buffers are copied when they are used, once an epoch, not at every step.
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
    """Whether the text of a failure only means that another rank did not answer."""
    return any(word in failure for word in _CONNECTION_LOSS)


_CONNECTION_LOSS = (
    "[/pytorch/third_party/gloo",
    "gloo/transport",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "timed out",
    # From a file store.
    "Wait timeout",
    "Timeout waiting",
    "NCCL",
    "ProcessGroup",
    "DistStoreError",
    "DistNetworkError",
    "RendezvousConnectionError",
)


def check_equal(ranks: Ranks, facts: Any, what: str) -> None:
    """Check that a value is the same on all ranks.

    Raises:
        InputError: it is not.
    """
    if len({json.dumps(value, sort_keys=True) for value in ranks.gather_values(facts)}) > 1:
        raise InputError(f"the machines of the run do not have the same {what}", "give them one shared folder")
