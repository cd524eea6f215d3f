import threading

import numpy as np
import pytest
import torch
from torch.nn import functional

from core.data.augment import crop, flip
from core.data.batches import Batches, open_batches
from core.data.dataset import Split
from core.data.index_plan import derive_seed, epoch_plan

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)


def made(count: int = 37, *, streamed: bool = False, padding: int = 2) -> tuple[Split, Batches]:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (count, 3, 10, 8), dtype=np.uint8), random.integers(0, 5, count))
    batches = open_batches(split, device=CPU, streamed=streamed, mean=MEAN, std=STD, crop_padding=padding)
    return split, batches


def pairs(batches: Batches, epoch: int = 1, first: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    plan = epoch_plan(len(batches), 1, epoch, 2, True)
    return list(batches.train(plan, 10, first))


def test_resident_and_streamed_batches_are_the_same_bits() -> None:
    _, resident = made()
    _, streamed = made(streamed=True)
    for (a, b), (c, d) in zip(pairs(resident), pairs(streamed), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    for (a, b), (c, d) in zip(resident.evaluate(10), streamed.evaluate(10), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_epoch_shows_every_image_once_and_keeps_the_short_batch(streamed: bool) -> None:
    split, batches = made(streamed=streamed, padding=0)
    plan = epoch_plan(len(batches), 1, 1, 0, False)
    shown = list(batches.train(plan, 10))
    assert [len(labels) for _, labels in shown] == [10, 10, 10, 7]
    labels = torch.cat([labels for _, labels in shown])
    assert torch.equal(labels, torch.from_numpy(split.labels)[plan.order])


@pytest.mark.parametrize("streamed", [False, True])
def test_an_epoch_can_go_on_in_its_middle(streamed: bool) -> None:
    _, batches = made(streamed=streamed)
    for (a, _), (b, _) in zip(pairs(batches)[2:], pairs(batches, first=2), strict=True):
        assert torch.equal(a, b)


def test_evaluation_batches_are_normalised_and_in_order() -> None:
    split, batches = made()
    (images, labels), *_ = batches.evaluate(8)
    wanted = (split.images[:8] / 255 - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    np.testing.assert_allclose(images.numpy(), wanted, atol=1e-5)
    assert labels.tolist() == split.labels[:8].tolist()


def test_a_plan_depends_on_seed_and_epoch_alone() -> None:
    first, again, other, next_epoch = (
        epoch_plan(50, seed, epoch, 4, True) for seed, epoch in ((1, 1), (1, 1), (2, 1), (1, 2))
    )
    assert torch.equal(first.order, again.order)
    assert not torch.equal(first.order, other.order)
    assert not torch.equal(first.order, next_epoch.order)
    assert sorted(first.order.tolist()) == list(range(50))


def test_the_order_does_not_depend_on_the_augmentation() -> None:
    assert torch.equal(epoch_plan(50, 1, 1, 4, True).order, epoch_plan(50, 1, 1, 0, False).order)


def test_seeds_differ_by_purpose_and_fit_torch() -> None:
    seeds = {derive_seed(seed, purpose, epoch) for seed in (0, 2**63 - 1) for purpose in ("a", "b") for epoch in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_crops_are_those_of_a_padded_image() -> None:
    images = torch.randint(0, 256, (6, 3, 10, 8), dtype=torch.uint8)
    top, left = torch.tensor([0, 1, 2, 3, 4, 2]), torch.tensor([4, 3, 2, 1, 0, 2])
    padded = functional.pad(images, (2, 2, 2, 2))
    cropped = crop(images, top, left, 2)
    for index in range(6):
        wanted = padded[index, :, top[index] : top[index] + 10, left[index] : left[index] + 8]
        assert torch.equal(cropped[index], wanted)
    assert torch.equal(cropped[5], images[5])


def test_a_flip_mirrors_left_and_right_only_where_asked() -> None:
    images = torch.arange(24, dtype=torch.uint8).view(2, 1, 3, 4)
    mirrored = flip(images, torch.tensor([True, False]))
    assert mirrored[0, 0, 0].tolist() == [3, 2, 1, 0]
    assert torch.equal(mirrored[1], images[1])


def test_half_of_the_images_are_mirrored() -> None:
    plan = epoch_plan(10_000, 1, 1, 0, True)
    assert plan.flip is not None
    assert 4_800 < int(plan.flip.sum()) < 5_200


def test_crop_corners_cover_their_whole_range() -> None:
    plan = epoch_plan(10_000, 1, 1, 4, False)
    assert plan.top is not None
    assert plan.left is not None
    assert sorted(plan.top.unique().tolist()) == sorted(plan.left.unique().tolist()) == list(range(9))


def test_leaving_a_streamed_epoch_ends_its_reader() -> None:
    _, batches = made(200, streamed=True)
    before = threading.active_count()
    shown = batches.train(epoch_plan(200, 1, 1, 0, False), 1)
    next(shown)
    shown.close()
    assert threading.active_count() == before


def test_an_error_while_reading_ahead_is_raised_where_the_batches_are_used() -> None:
    split = Split(np.zeros((4, 3, 10, 8), np.uint8), np.zeros(4, np.int64))
    batches = open_batches(split, device=CPU, streamed=True, mean=MEAN, std=STD)
    plan = epoch_plan(9, 1, 1, 0, False)
    with pytest.raises(IndexError):
        list(batches.train(plan, 9))


def test_channels_last_changes_the_layout_and_no_value() -> None:
    split, plain = made()
    last = open_batches(split, device=CPU, streamed=False, mean=MEAN, std=STD, crop_padding=2, channels_last=True)
    for (a, _), (b, _) in zip(pairs(plain), pairs(last), strict=True):
        assert torch.equal(a, b)
        assert b.is_contiguous(memory_format=torch.channels_last)
