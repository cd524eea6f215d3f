from typing import Any

import pytest
import torch
from torch import Tensor

from torchdeck.core.config import TrainingOptions
from torchdeck.core.training.inference import predict


def asked(how: str, **options: Any) -> TrainingOptions:
    return TrainingOptions.model_validate({"test_time": how, **options})


def corners(images: Tensor) -> Tensor:
    """Logits that tell the left upper and the right lower pixel."""
    return torch.stack([images[:, 0, 0, 0], images[:, 0, -1, -1]], 1)


def image(*rows: list[float]) -> Tensor:
    return torch.tensor([[list(rows)]])


def test_plain_logits_are_the_models_own() -> None:
    images = torch.randn(3, 1, 4, 4)
    assert torch.equal(predict(corners, images, asked("plain")), corners(images))


def test_mirrored_views_count_half() -> None:
    seen = predict(corners, image([1.0, 3.0], [5.0, 9.0]), asked("mirror"))
    assert seen.tolist() == [[(1 + 3) / 2, (9 + 5) / 2]]


def test_shifted_views_count_a_quarter_each() -> None:
    images = image([0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0])
    # Reflected around, the image is 4 3 4 5 4 / 1 0 1 2 1 / 4 3 4 5 4 / 7 6 7 8 7 / 4 3 4 5 4.
    plain, up_left, down_right = (0 + 2) / 2, (4 + 4) / 2, (4 + 4) / 2
    seen = predict(corners, images, asked("mirror-shift"))
    assert seen[0, 0] == plain / 2 + up_left / 4 + down_right / 4


def test_only_the_least_certain_images_get_more_views() -> None:
    images = torch.stack([image([float(k), 0.0], [0.0, 0.0])[0] for k in (1, 9, 2, 8)])
    seen = predict(corners, images, asked("mirror", test_time_share=0.5))
    assert seen[:, 0].tolist() == [0.5, 9.0, 1.0, 8.0]


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_a_share_is_rounded_up_to_whole_images(share: float) -> None:
    images = torch.randn(3, 1, 4, 4)
    changed = predict(corners, images, asked("mirror", test_time_share=share)) != corners(images)
    assert int(changed.any(1).sum()) == 1
