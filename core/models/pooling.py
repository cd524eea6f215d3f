"""Max pooling: together with a ReLU, in the cheaper order, and over whole images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def relu_and_pool() -> tuple[nn.Module, nn.Module]:
    """ReLU, then max pooling by 2, with the same values and gradients for a quarter of the ReLU's work.

    The largest of four values is the same before and after a ReLU, so the pooling may come first.
    """
    return nn.MaxPool2d(2), nn.ReLU()


class GlobalMaxPool(nn.Module):
    """The largest value of each channel: [B, C, H, W] to [B, C, 1, 1].

    The values and gradients of AdaptiveMaxPool2d(1), whose gradients on CUDA have no deterministic algorithm.
    """

    def forward(self, images: Tensor) -> Tensor:
        return functional.max_pool2d(images, images.shape[2:])
