"""Run an exported model on images in a process of its own: `python -m … FORM FOLDER` writes output.npy there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def outputs(form: str, model: Path, images: NDArray[Any]) -> NDArray[Any]:
    """The outputs [B, K] of an exported model for images [B, C, H, W]."""
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])
    import torch

    network = torch.export.load(model).module() if form == "pt2" else torch.jit.load(model)
    with torch.no_grad():
        return network(torch.from_numpy(images)).numpy()


def main(form: str, folder: Path) -> None:
    """Read the model and images.npy of a folder, and write output.npy."""
    (model,) = folder.glob("model.*")
    np.save(folder / "output.npy", outputs(form, model, np.load(folder / "images.npy", allow_pickle=False)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
