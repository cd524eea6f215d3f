"""How much memory streamed images take beside the model's own, at several sizes and numbers of images.

A folder of JPEG files is decoded into the cache and trained on for one epoch, streamed, with the default settings of
the data and one part held out. The peak is that of the process's own memory (RssAnon: memory maps of the cache, which
the system drops when it needs to, are not in it), sampled every few milliseconds from outside. The peak of the same
model on constant batches of the same shape is subtracted.

Usage: python benchmarks/data_memory.py [--cases 64x20000 224x2000 512x1000] [--short] [--json]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from blocks import figure, parser, report
from PIL import Image

MIB = 2**20
FILES = 60
"""Distinct files; the others are links to them."""
RUN = """
import sys
from pathlib import Path
from torchdeck.core.config import parse_config
from torchdeck.core.session.session import SessionContext, run
folder, size = Path(sys.argv[1]), int(sys.argv[2])
data = {"name": "image-folder", "path": "photos", "size": size, "source": "streamed", "flip": True, "crop_padding": 4}
content = {"data": {**data, "validation": "held-out"}, "model": {"name": "residual-cnn"}, "optimizer": {"name": "sgd"}}
config = parse_config({**content, "training": {"epochs": 1, "batch_size": 32, "device": "cpu", "precision": "fp32"}})
if sys.argv[3] == "run":
    *_, last = run(config, folder / "logs", context=SessionContext(folder))
    print(type(last).__name__)
else:
    import torch
    from torch.nn import functional
    from torchdeck.core.data import open_dataset
    from torchdeck.core.models import build
    from torchdeck.core.training.malloc import keep_freed_memory
    from torchdeck.core.training.plan import make_plan
    plan = make_plan(config, folder)
    keep_freed_memory()
    model = build(config.model, plan.facts.spec).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(3):
        images = torch.zeros(32, 3, size, size).to(memory_format=torch.channels_last)
        functional.cross_entropy(model(images), torch.zeros(32, dtype=torch.long)).backward()
        optimizer.step()
        del images
        with torch.no_grad():
            model.eval()(torch.zeros(plan.config.training.evaluation_batch_size, 3, size, size))
        model.train()
    print("RunCompleted")
"""


def write_photos(folder: Path, images: int) -> None:
    """Write a folder of two classes with `images` JPEGs of 500x400, links to a few files."""
    random = np.random.default_rng(0)
    (folder / "files").mkdir(parents=True)
    for number in range(FILES):
        coarse = Image.fromarray(random.integers(0, 256, (20, 25, 3), dtype=np.uint8))
        coarse.resize((500, 400), Image.Resampling.BICUBIC).save(folder / "files" / f"{number}.jpg", quality=90)
    for number in range(images):
        place = folder / "photos" / ("train" if number % 5 else "test") / ("a", "b")[number // 5 % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").hardlink_to(folder / "files" / f"{number % FILES}.jpg")


def peak(folder: Path, size: int, what: str) -> int:
    """Peak bytes of the own memory of a process that runs `what`: run or model."""
    child = subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(size), what], stdout=subprocess.PIPE)
    most = 0
    while child.poll() is None:
        try:
            lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
        except OSError:
            break
        most = max([most, *(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.003)
    assert child.stdout is not None
    if b"RunCompleted" not in child.stdout.read() or child.wait():
        sys.exit(f"{what} at {size} failed")
    return most


def main() -> None:
    """Print the peaks as text or JSON."""
    made = parser(__doc__)
    made.add_argument("--cases", nargs="+", help="SIDExIMAGES, such as 64x20000")
    asked = made.parse_args()
    cases = asked.cases or (["64x3000", "224x600"] if asked.short else ["64x20000", "224x2000", "512x1000"])
    if not Path("/proc/self/status").exists():
        sys.exit("this system does not show the memory of a process in /proc")
    figures = []
    for case in cases:
        size, images = map(int, case.split("x"))
        with tempfile.TemporaryDirectory() as name:
            write_photos(Path(name), images)
            model = peak(Path(name), size, "model")
            over = peak(Path(name), size, "run") - model
        title = f"{images:,} images of {size}x{size}, streamed: memory over the model's own ({model / MIB:,.0f} MiB)"
        figures.append(figure(title, [over / MIB], "", unit="MiB", bar="<= 300 MiB"))
    report("data_memory", figures, asked.json)


if __name__ == "__main__":
    main()
