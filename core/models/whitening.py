"""Whitening: a first layer with fixed filters, fitted to the training images so that its outputs are uncorrelated."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data.image_spec import ImageSpec

EPSILON = 5e-4
"""Added to each eigenvalue, so that the noise of the pixels is not amplified."""


class Whitening(nn.Module):
    """Eigenvectors of the image patches as fixed filters, each also negated; only the bias is learned.

    [B, C, H, W] to [B, 2 C side², H - side + 1, W - side + 1]. From Page 2018, "How to Train Your ResNet", as in
    Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU".
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        width = 2 * channels * side**2
        self.weight = nn.Parameter(torch.zeros(width, channels, side, side), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, images: Tensor) -> Tensor:
        return functional.conv2d(images, self.weight, self.bias)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Fit the filters to normalised images [N, C, H, W]."""
        channels, side = self.weight.shape[1:3]
        patches = images.unfold(2, side, 1).unfold(3, side, 1)
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * side**2).double()
        values, vectors = torch.linalg.eigh(flat.mT @ flat / len(flat))
        filters = (vectors / (values + EPSILON).sqrt()).mT.flip(0).view(-1, channels, side, side)
        self.weight.copy_(torch.cat([filters, -filters]))


def spec_behind(spec: ImageSpec, side: int) -> ImageSpec:
    """The shape of whitened images, as the next layer receives them."""
    return ImageSpec(2 * spec.channels * side**2, spec.height - side + 1, spec.width - side + 1, spec.classes)
