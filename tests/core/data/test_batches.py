import threading

import numpy as np
import pytest
import torch
from torch.nn import functional

from torchdeck.core.config import parse_data
from torchdeck.core.data import DataOptions
from torchdeck.core.data.augment import Windows, lay_out, new_canvas
from torchdeck.core.data.batches import TOGETHER, Batches, augmentation_of, open_batches
from torchdeck.core.data.dataset import Split
from torchdeck.core.data.epoch_plan import epoch_plan
from torchdeck.core.data.index_plan import IndexPlan, derive_seed

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)


def options(**settings: object) -> DataOptions:
    return parse_data(
        "synthetic", [f"data.{key}={str(value).lower()}" for key, value in {"size": 8, **settings}.items()]
    )


PLAIN = options()
AUGMENTED = options(crop_padding=2, flip=True)
EVERYTHING = options(crop_padding=2, crop_fill="reflect", flip="alternating", jitter=0.2, cutout=3)


def made(count: int = 37, data: DataOptions = AUGMENTED, *, streamed: bool = False) -> tuple[Split, Batches]:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (count, 3, 10, 8), dtype=np.uint8), random.integers(0, 5, count))
    batches = open_batches(split, device=CPU, streamed=streamed, mean=MEAN, std=STD, augmentation=augmentation_of(data))
    return split, batches


def pairs(
    batches: Batches, data: DataOptions = AUGMENTED, epoch: int = 1, first: int = 0
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(batches.train(epoch_plan(len(batches), 1, epoch, data), 10, first))


def normalised(images: torch.Tensor) -> torch.Tensor:
    return (images / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


@pytest.mark.parametrize("data", [PLAIN, AUGMENTED, EVERYTHING, options(flip=True), options(crop_padding=2)])
def test_resident_and_streamed_batches_are_the_same_bits(data: DataOptions) -> None:
    _, resident = made(data=data)
    _, streamed = made(data=data, streamed=True)
    for (a, b), (c, d) in zip(pairs(resident, data), pairs(streamed, data), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    for (a, b), (c, d) in zip(resident.evaluate(10), streamed.evaluate(10), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_epoch_shows_every_image_once_and_keeps_the_short_batch(streamed: bool) -> None:
    split, batches = made(data=PLAIN, streamed=streamed)
    plan = epoch_plan(len(batches), 1, 1, PLAIN)
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
        epoch_plan(50, seed, epoch, AUGMENTED) for seed, epoch in ((1, 1), (1, 1), (2, 1), (1, 2))
    )
    assert torch.equal(first.order, again.order)
    assert not torch.equal(first.order, other.order)
    assert not torch.equal(first.order, next_epoch.order)
    assert sorted(first.order.tolist()) == list(range(50))


def test_the_order_does_not_depend_on_the_augmentation() -> None:
    assert torch.equal(epoch_plan(50, 1, 1, EVERYTHING).order, epoch_plan(50, 1, 1, PLAIN).order)


def test_seeds_differ_by_purpose_and_fit_torch() -> None:
    seeds = {derive_seed(seed, purpose, epoch) for seed in (0, 2**63 - 1) for purpose in ("a", "b") for epoch in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_an_epoch_can_go_on_within_batches_made_together() -> None:
    _, batches = made(3 * TOGETHER + 5)
    plan = epoch_plan(len(batches), 1, 1, AUGMENTED)
    whole = list(batches.train(plan, 4))
    for first in (1, TOGETHER // 4, len(whole) - 1):
        for (a, b), (c, d) in zip(whole[first:], batches.train(plan, 4, first), strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)


@pytest.mark.parametrize(("fill", "mode"), [("zero", "constant"), ("reflect", "reflect")])
def test_a_batch_is_its_images_padded_cropped_and_mirrored(fill: str, mode: str) -> None:
    data = options(crop_padding=2, crop_fill=fill, flip=True)
    split, batches = made(data=data)
    plan = epoch_plan(len(batches), 1, 1, data)
    assert plan.top is not None
    assert plan.left is not None
    assert plan.flip is not None
    images, _ = next(batches.train(plan, len(batches)))
    for place, index in enumerate(plan.order.tolist()):
        image = torch.from_numpy(split.images[index : index + 1].astype(np.float32))
        image = image.flip(3) if plan.flip[place] else image
        padded = functional.pad(image, (2, 2, 2, 2), mode)
        top, left = int(plan.top[place]), int(plan.left[place])
        torch.testing.assert_close(images[place : place + 1], normalised(padded[..., top : top + 10, left : left + 8]))


def test_windows_gathered_and_copied_are_the_same() -> None:
    images = torch.randint(0, 256, (6, 3, 10, 8), dtype=torch.uint8)
    canvas = new_canvas(6, (3, 10, 8), 2, True, CPU)
    lay_out(canvas, images, 2, False)
    windows = Windows(canvas, 2)
    top, left, flip = torch.tensor([0, 4, 2, 3]), torch.tensor([4, 4, 2, 1]), torch.tensor([False, True, False, True])
    index = torch.tensor([0, 5, 5, 1])
    places = windows.places(index, IndexPlan(index, top, left, flip))
    assert torch.equal(windows.gathered(places), windows.copied(places))


def test_alternating_flips_show_every_image_both_ways_in_two_epochs() -> None:
    data = options(flip="alternating")
    first, second = (epoch_plan(1000, 1, epoch, data) for epoch in (3, 4))
    assert first.flip is not None
    assert second.flip is not None
    there, back = (torch.empty(1000, dtype=torch.bool) for _ in range(2))
    there[first.order], back[second.order] = first.flip, second.flip
    assert torch.equal(there, ~back)
    assert 400 < int(there.sum()) < 600


def test_jitter_changes_contrast_and_brightness_of_each_image_within_its_reach() -> None:
    data = options(jitter=0.2)
    split, batches = made(data=data)
    plan = epoch_plan(len(batches), 1, 1, data)
    images, _ = next(batches.train(plan, len(batches)))
    before = normalised(torch.from_numpy(split.images[plan.order.numpy()].astype(np.float32)))
    assert plan.contrast is not None
    assert plan.brightness is not None
    assert 0.8 <= float(plan.contrast.min()) < 0.9 < 1.1 < float(plan.contrast.max()) <= 1.2
    wanted = before * plan.contrast.view(-1, 1, 1, 1) + plan.brightness.view(-1, 1, 1, 1)
    torch.testing.assert_close(images, wanted, atol=1e-5, rtol=1e-5)


def test_cutout_blanks_one_square_which_may_stand_partly_outside() -> None:
    data = options(cutout=3)
    _, batches = made(500, data)
    images, _ = next(batches.train(epoch_plan(500, 1, 1, data), 500))
    blank = (images == 0).all(1)
    counts = blank.sum((1, 2))
    assert set(counts.tolist()) >= {1, 2, 3, 4, 6, 9}
    assert int(counts.max()) == 9
    rows, columns = (int(blank[int(counts.argmax())].any(side).sum()) for side in (0, 1))
    assert (rows, columns) == (3, 3)


def test_half_of_the_images_are_mirrored() -> None:
    plan = epoch_plan(10_000, 1, 1, options(flip=True))
    assert plan.flip is not None
    assert 4_800 < int(plan.flip.sum()) < 5_200


def test_crop_corners_cover_their_whole_range() -> None:
    plan = epoch_plan(10_000, 1, 1, options(crop_padding=4))
    assert plan.top is not None
    assert plan.left is not None
    assert sorted(plan.top.unique().tolist()) == sorted(plan.left.unique().tolist()) == list(range(9))


def test_leaving_a_streamed_epoch_ends_its_reader() -> None:
    _, batches = made(200, PLAIN, streamed=True)
    before = threading.active_count()
    shown = batches.train(epoch_plan(200, 1, 1, PLAIN), 1)
    next(shown)
    shown.close()
    assert threading.active_count() == before


def test_an_error_while_reading_ahead_is_raised_where_the_batches_are_used() -> None:
    split = Split(np.zeros((4, 3, 10, 8), np.uint8), np.zeros(4, np.int64))
    batches = open_batches(split, device=CPU, streamed=True, mean=MEAN, std=STD)
    plan = epoch_plan(9, 1, 1, PLAIN)
    with pytest.raises(IndexError):
        list(batches.train(plan, 9))


def test_channels_last_changes_the_layout_and_no_value() -> None:
    split, plain = made()
    asked = augmentation_of(AUGMENTED)
    last = open_batches(split, device=CPU, streamed=False, mean=MEAN, std=STD, channels_last=True, augmentation=asked)
    for (a, _), (b, _) in zip(pairs(plain), pairs(last), strict=True):
        assert torch.equal(a, b)
        assert b.is_contiguous(memory_format=torch.channels_last)
