import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from torchdeck.core.optim import OPTIMIZERS, SCHEDULES, MuonOptions
from torchdeck.core.optim.eager import eager
from torchdeck.core.optim.lookahead import Lookahead
from torchdeck.core.optim.muon import _update_on_cpu, batches_of_similar, orthogonalized, update_on_gpu
from torchdeck.core.optim.schedules import Schedule

EPOCHS, STEPS = 10, 20


def schedule(name: str, **options: Any) -> Schedule:
    return SCHEDULES.builder(name)(SCHEDULES.options(name)(name=name, **options), EPOCHS, STEPS)


def factors(made: Schedule, epochs: int = EPOCHS) -> list[float]:
    return [made.at(step) for step in range(epochs * STEPS)]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
        (torch.optim.SGD, {"weight_decay": 0.1}),
        (torch.optim.Adam, {"fused": True}),
        (torch.optim.AdamW, {}),
    ],
)
def test_an_eager_optimizer_makes_torchs_updates_and_keeps_its_state(
    kind: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    made: list[Any] = [eager(kind), kind]
    optimizers = [each([weight], lr=0.1, **options) for each, weight in zip(made, (ours, theirs), strict=True)]
    for _ in range(3):
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (weight**3).sum().backward()
            optimizer.step()
        assert torch.equal(ours, theirs)
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert repr(states[0]) == repr(states[1])
    again = eager(kind)([nn.Parameter(torch.zeros(7))], lr=0.2, **options)  # pyright: ignore[reportCallIssue]
    again.load_state_dict(states[1])
    assert repr(again.state_dict()) == repr(states[0])


def test_a_constant_schedule_stays() -> None:
    assert set(factors(schedule("constant"))) == {1.0}


def test_a_cosine_per_epoch_is_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=0.1)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=EPOCHS)
    ours = schedule("cosine")
    for epoch in range(EPOCHS):
        assert ours.at(epoch * STEPS) * 0.1 == pytest.approx(reference.get_last_lr()[0])
        assert ours.at(epoch * STEPS) == ours.at(epoch * STEPS + STEPS - 1)
        theirs.step()
        reference.step()


def test_a_cosine_over_more_epochs_than_the_run_does_not_reach_its_end() -> None:
    assert factors(schedule("cosine", epochs=20))[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 9 / 20)))


def test_a_cosine_per_step_falls_at_every_step_to_its_final_share() -> None:
    found = factors(schedule("cosine", per="step", final=0.1), EPOCHS + 1)
    assert all(later < earlier for earlier, later in pairwise(found[:201]))
    assert found[200] == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0.1)


def test_a_step_schedule_falls_by_its_factor() -> None:
    made = schedule("step", every=3, factor=0.5)
    assert [made.at(epoch * STEPS) for epoch in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_one_cycle_rises_to_the_learning_rate_and_falls_below_its_start() -> None:
    found = factors(schedule("one-cycle", rise=0.25, initial=0.04))
    assert found[0] == pytest.approx(0.04)
    assert max(found) == found[50] == pytest.approx(1)
    assert found[-1] < 0.001


def test_a_triangle_rises_and_falls_in_straight_lines() -> None:
    found = factors(schedule("triangular", rise=0.25, initial=0.2, final=0.1))
    assert found[0] == pytest.approx(0.2)
    assert found[50] == max(found) == pytest.approx(1)
    assert {round(b - a, 9) for a, b in pairwise(found[:51])} == {round(0.8 / 50, 9)}
    assert {round(a - b, 9) for a, b in pairwise(found[50:])} == {round(0.9 / 150, 9)}
    assert factors(schedule("triangular", rise=0.0))[0] == 1


@pytest.mark.parametrize("name", ["constant", "cosine", "step", "plateau"])
def test_a_warm_up_rises_in_a_line(name: str) -> None:
    made = schedule(name, warmup_epochs=2)
    assert [made.at(step) for step in (0, 19, 39)] == pytest.approx([1 / 40, 20 / 40, 1])


def test_a_plateau_lowers_the_rate_when_nothing_gets_better() -> None:
    made = schedule("plateau", patience=1, factor=0.1)
    seen = []
    for figure in (0.5, 0.6, 0.6, 0.55, 0.7, 0.6, 0.6):
        made.epoch_ended(figure)
        seen.append(made.at(0))
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_a_plateau_goes_on_from_its_state() -> None:
    first, second = schedule("plateau", patience=2), schedule("plateau", patience=2)
    for figure in (0.5, 0.4, 0.4):
        first.epoch_ended(figure)
    second.restore(first.state())
    for made in (first, second):
        made.epoch_ended(0.4)
    assert first.at(0) == second.at(0) == pytest.approx(0.1)


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {"lr": 0.2}),
    ("sgd", {"momentum": 0.5}),
    ("sgd", {"nesterov": True}),
    ("sgd", {"weight_decay": 0.1}),
    ("adam", {"lr": 0.2}),
    ("adam", {"beta1": 0.5}),
    ("adam", {"beta2": 0.5}),
    ("adam", {"eps": 0.5}),
    ("adam", {"weight_decay": 0.1}),
    ("adamw", {"lr": 0.2}),
    ("adamw", {"beta1": 0.5}),
    ("adamw", {"beta2": 0.5}),
    ("adamw", {"eps": 0.5}),
    ("adamw", {"weight_decay": 0.5}),
    ("muon", {"lr": 0.2}),
    ("muon", {"momentum": 0.1}),
    ("muon", {"iterations": 1}),
    ("muon", {"normalize": True}),
    ("muon", {"last_lr": 0.2}),
    ("muon", {"bias_lr": 0.2}),
    ("muon", {"other_momentum": 0.1}),
    ("muon", {"weight_decay": 0.5}),
]


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(3, 2))


def after_steps(name: str, **options: Any) -> torch.Tensor:
    model = two_layers()
    optimizer = OPTIMIZERS.builder(name)(OPTIMIZERS.options(name)(name=name, **options), model)
    for slope in (1.0, -0.3, 0.2):
        optimizer.zero_grad()
        (slope * model(torch.ones(1, 2, 2, 2)).square()).sum().backward()
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_every_option_of_an_optimizer_has_an_effect(name: str, options: dict[str, Any]) -> None:
    assert not torch.equal(after_steps(name, **options), after_steps(name))


@pytest.mark.parametrize("half", [True, False])
def test_an_orthogonalised_update_has_singular_values_near_one(half: bool) -> None:
    torch.manual_seed(0)
    for shape in ((2, 8, 40), (2, 40, 8)):
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape), 5, half=half))
        assert 0.5 < float(values.min()) < float(values.max()) < 1.4


def test_matrices_of_one_shape_are_orthogonalised_each_for_itself() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 6, 9)
    together = orthogonalized(matrices, 3, half=False)
    for matrix, direction in zip(matrices, together, strict=True):
        torch.testing.assert_close(orthogonalized(matrix[None], 3, half=False)[0], direction)


def test_normalised_filters_keep_their_length() -> None:
    model = two_layers()
    muon = OPTIMIZERS.builder("muon")(MuonOptions(lr=1e-6, normalize=True), model)
    model(torch.ones(1, 2, 2, 2)).sum().backward()
    muon.step()
    assert float(model[0].weight.detach().norm()) == pytest.approx(3**0.5, rel=1e-3)


def test_lookahead_pulls_the_weights_to_their_running_mean_and_ends_there() -> None:
    model = two_layers()
    lookahead = Lookahead(model, every=2, steps=8)
    (weight, *_) = model.parameters()
    start = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    lookahead.stepped(3)
    torch.testing.assert_close(weight.detach(), start + 1)
    lookahead.stepped(4)
    share = 0.95**2 * 0.5**3
    torch.testing.assert_close(weight.detach(), start + 1 - share)
    with torch.no_grad():
        weight.add_(5.0)
    lookahead.stepped(8)
    torch.testing.assert_close(weight.detach(), start + 1 - share)


SHAPES = [(16, 3, 3, 3), (64, 3, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 16, 3, 3), (8, 40)]
"""Filters of a network; the second have more rows than columns, so that they are stored transposed."""
SHARED = {"lr": 0.1, "initial_lr": 0.2, "weight_decay": 0.3, "iterations": 3, "half": False}


@pytest.mark.parametrize(
    "kind",
    [{"orthogonal": True, "normalize": True}, {"orthogonal": True, "normalize": False}, {"orthogonal": False}],
    ids=["normalised filters", "filters", "others"],
)
def test_muon_updates_the_same_by_the_kernels_for_a_gpu(kind: dict[str, bool]) -> None:
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=random) for shape in SHAPES]
    updates = [torch.randn(shape, generator=random) for shape in SHAPES]
    on_cpu, on_gpu = ([tensor.clone() for tensor in weights] for _ in range(2))
    _update_on_cpu(on_cpu, [update.clone() for update in updates], {**SHARED, **kind})
    update_on_gpu(on_gpu, [update.clone() for update in updates], {**SHARED, **kind, "lr": torch.tensor(0.1)})
    for one, other, before in zip(on_cpu, on_gpu, weights, strict=True):
        assert not torch.equal(one, before)
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_batches_of_padded_filters_waste_little() -> None:
    assert batches_of_similar([(256, 2304)] * 3 + [(64, 216), (64, 576), (256, 576)]) == [[0, 1, 2, 5, 4, 3]]
    assert batches_of_similar([(512, 4608), (64, 576), (64, 576), (576, 64)]) == [[0, 1], [2, 3]]
