import itertools

import pytest
import torch
from small_runs import SMALL, changed
from torch.nn import functional

from torchdeck.core.config import parse_config
from torchdeck.core.data.epoch_plan import epoch_plan
from torchdeck.core.data.index_plan import ALL, IndexPlan, Shard
from torchdeck.core.devices.device_spec import devices_of, parse_devices
from torchdeck.core.errors import ConfigError, InputError
from torchdeck.core.training.inference import Predictions, joined_over_ranks, no_predictions
from torchdeck.core.training.metrics import Tally
from torchdeck.core.training.process_group import Ranks

CPU = torch.device("cpu")


class Others(Ranks):
    """A rank whose peers are told by hand."""

    def __init__(self, tallies: list[Tally]) -> None:
        super().__init__(world=3)
        self.tallies = tallies

    def sum_in_place(self, tensor: torch.Tensor) -> None:
        """What the other tallies would add: they are combined with an empty group of the same kind."""
        for tally in self.tallies:
            told = Told(world=3)
            tally.combine(told)
            tensor += told.heard


class Told(Ranks):
    """Hears what a tally tells."""

    heard = torch.zeros(())

    def sum_in_place(self, tensor: torch.Tensor) -> None:
        self.heard = tensor.clone()


@pytest.mark.parametrize(("count", "batch", "world"), [(203, 50, 2), (100, 25, 4), (7, 3, 3), (10, 4, 3), (64, 64, 1)])
def test_the_shards_of_all_ranks_are_the_epoch_in_its_batches(count: int, batch: int, world: int) -> None:
    plan = IndexPlan(torch.randperm(count), top=torch.arange(count))
    shards = [Shard(rank, world) for rank in range(world)]
    parts = [shard.of(plan, batch).order.split(shard.sizes(count, batch)) for shard in shards]
    batches = [torch.cat(together) for together in zip(*parts, strict=True)]
    assert [part.tolist() for part in plan.order.split(batch)] == [part.tolist() for part in batches]
    assert sorted(torch.cat([shard.of(plan, batch).top for shard in shards]).tolist()) == list(range(count))
    blocks = [shard.blocks(count, batch) for shard in shards]
    assert len({len(mine) for mine in blocks}) == 1
    in_turn = itertools.chain(*zip(*blocks, strict=True))
    assert [number for block in in_turn for number in range(count)[block]] == list(range(count))


def test_a_process_alone_has_the_plan_as_it_is() -> None:
    plan = epoch_plan(10, 1, 1, parse_config(SMALL).data)
    assert ALL.of(plan, 4) is plan
    assert ALL.sizes(10, 4) == [4, 4, 2]


def test_tallies_combined_are_the_tally_of_one_process() -> None:
    logits, labels = torch.randn(20, 5), torch.randint(0, 5, (20,))
    shards = [Shard(rank, 3) for rank in range(3)]
    whole = Tally(ALL.sizes(20, 8), ALL.sizes(20, 8), CPU)
    parts = [Tally(ALL.sizes(20, 8), shard.sizes(20, 8), CPU) for shard in shards]
    order = IndexPlan(torch.arange(20))
    for number in range(3):
        for tally, shard in [(whole, ALL), *zip(parts, shards, strict=True)]:
            mine = shard.of(order, 8).order.split(shard.sizes(20, 8))[number]
            tally.add(functional.cross_entropy(logits[mine], labels[mine]), logits[mine], labels[mine])
        if number != 1:  # whenever they meet
            first, *others = parts
            first.combine(Others(others))
    assert parts[0].figures().accuracy == whole.figures().accuracy
    assert parts[0].figures().mean_loss == pytest.approx(whole.figures().mean_loss)
    assert parts[0].losses.tolist() == pytest.approx(whole.losses.tolist())


@pytest.mark.parametrize(
    ("text", "device", "ranks"),
    [
        ("4", "cuda:0,1,2,3", 4),
        ("1", "auto", 1),
        ("0,2", "cuda:0,2", 2),
        ("cpu:3", "cpu:3", 3),
        ("cuda:1", "cuda:1", 1),
    ],
)
def test_devices_are_a_number_a_list_or_processes(text: str, device: str, ranks: int) -> None:
    assert parse_devices(text) == device
    assert len(devices_of(device)) == ranks


@pytest.mark.parametrize("text", ["", "0", "cpu:0", "cuda:a", "1,", "gpu"])
def test_devices_that_are_none_are_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(InputError, match="cpu:2"):
        parse_devices(text)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training.device": "cuda:0,0"}, "names a GPU twice"),
        ({"training.device": "cpu:40"}, "40 devices share a batch"),
        ({"training.device": "cpu:9000", "training.batch_size": 9000}, "more than 1024"),
        ({"training.device": "cpu:2", "training.nodes": 600, "training.batch_size": 9000}, "1200 processes"),
    ],
)
def test_devices_that_cannot_share_a_run_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_config(changed(SMALL, changes))


def test_the_linear_rule_scales_the_rate_with_the_batch() -> None:
    assert parse_config(changed(SMALL, {"training.lr_batch_size": 16})).training.lr_rule == 2.0
    assert parse_config(SMALL).training.lr_rule == 1.0


class Pair(Ranks):
    """Two ranks in turn: the second adds to what the first told."""

    def __init__(self, rank: int, told: list[torch.Tensor]) -> None:
        super().__init__(rank, world=2)
        self.told = told

    def sum_in_place(self, tensor: torch.Tensor) -> None:
        if self.is_leader:
            self.told.append(tensor.clone())
        else:
            tensor += self.told.pop(0)


def test_a_rank_whose_part_of_a_small_test_set_is_nothing_hears_of_all_predictions() -> None:
    nothing = no_predictions(10, CPU)
    labels = torch.randint(0, 10, (64,))
    all_of_it = Predictions(torch.randint(0, 10, (64, 3)), torch.rand(64, 3), labels)
    told: list[torch.Tensor] = []
    joined_over_ranks([nothing, all_of_it], Pair(0, told), 64, 100)
    assert len(told) == 3
    heard = joined_over_ranks([nothing], Pair(1, told), 64, 100)
    assert heard is not None
    assert torch.equal(heard.labels, labels)
    assert torch.equal(heard.classes, all_of_it.classes)
    assert torch.equal(heard.probabilities, all_of_it.probabilities)
    assert joined_over_ranks([], Pair(1, told), 64, 100) is None
