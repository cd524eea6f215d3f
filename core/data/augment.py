"""Crop, flip and normalise whole batches on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def crop(images: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Each image [B, C, H, W] cut, at its own corner, from itself with `padding` zero pixels around."""
    height, width = images.shape[2:]
    padded = functional.pad(images, (padding, padding, padding, padding))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """The images [B, C, H, W] mirrored left to right where `mirrored` [B] says so."""
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def normalize(images: Tensor, scale: Tensor, shift: Tensor, memory_format: torch.memory_format) -> Tensor:
    """uint8 [B, C, H, W] to float32: times `scale` plus `shift`, each [1, C, 1, 1]."""
    return images.to(torch.float32, memory_format=memory_format).mul_(scale).add_(shift)
