import pytest
import torch
from torch.nn import functional

from torchdeck.core.training.metrics import Tally

CPU = torch.device("cpu")
SIZES = [8] * 12 + [4]


def steps(images: int = 100, size: int = 8) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(images, 5, generator=random)
    labels = torch.randint(0, 5, (images,), generator=random)
    return [
        (functional.cross_entropy(some, truth), some, truth)
        for some, truth in zip(logits.split(size), labels.split(size), strict=True)
    ]


def test_a_tally_holds_the_exact_figures_of_all_images() -> None:
    tally, given = Tally(SIZES, SIZES, CPU), steps()
    for step in given:
        tally.add(*step)
    logits, labels = torch.cat([step[1] for step in given]), torch.cat([step[2] for step in given])
    assert tally.figures().mean_loss == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-6)
    assert tally.figures().accuracy == int((logits.argmax(1) == labels).sum()) / 100
    assert tally.losses.tolist() == [float(loss) for loss, _, _ in given]


def test_looking_at_a_tally_changes_none_of_its_figures() -> None:
    looked, left = Tally(SIZES, SIZES, CPU), Tally(SIZES, SIZES, CPU)
    for step in steps():
        looked.add(*step)
        left.add(*step)
        assert looked.figures().loss == float(step[0])
    assert (looked.figures().mean_loss, looked.figures().accuracy) == (
        left.figures().mean_loss,
        left.figures().accuracy,
    )


def test_a_tally_goes_on_from_a_checkpoint_bit_for_bit() -> None:
    whole, begun, resumed = (Tally(SIZES, SIZES, CPU) for _ in range(3))
    for number, step in enumerate(steps()):
        whole.add(*step)
        (begun if number < 5 else resumed).add(*step)
        if number == 4:
            begun.flush()
            resumed.restore(begun.losses, begun.hits, begun.skipped, 5)
    assert resumed.figures().mean_loss == whole.figures().mean_loss
    assert resumed.figures().accuracy == whole.figures().accuracy
    assert torch.equal(resumed.losses, whole.losses)


def test_the_recent_loss_is_the_mean_of_the_last_steps() -> None:
    tally, given = Tally(SIZES, SIZES, CPU), steps()
    for step in given[:6]:
        tally.add(*step)
    assert tally.figures(4).recent_loss == pytest.approx(sum(float(loss) for loss, _, _ in given[2:6]) / 4)
