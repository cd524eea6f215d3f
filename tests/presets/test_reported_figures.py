"""Every reported figure of a preset stands in a report, in the words quoted here."""

import re

import pytest

from torchdeck import presets
from torchdeck.presets.study_presets import load_declaration, study_names

TUNED = "62.00, 62.50, 64.99, 63.11, 56.45, 59.44, 58.02 %; 264, 181, 259, 180, 261, 181, 163 s on 4 A100"
ABLATION = "about 85 % test; about 95 % test, 99 % train: overfitting; 99 % train; 99.36 % test, 99.59 % train"
SENTENCES = {
    "wrn-28-10": "97 % at best; 95 % is required",
    "lenet": "53.36 % after 10 epochs; over 60 % after about 20; about 65 % is its ceiling",
    "lenet-cpu-baseline": "60 %, loss 1.03 to 1.06 in epoch 5",
    "resnet9": "about 71 %, steady after 6 to 8 epochs",
    "resnet18": "89.56 % (306 s on one A100)",
    "mnist-resnet34": "10 epochs: test 99.36 % at the end, 99.41 % at best (epoch 8), train 99.59 %",
    "basic-cnn": "82.91 % at best",
    "improved-cnn": "92.61 % at best",
    "residual-cnn": "91.57 % at best",
    "vgg-a": "about 84 %, steady after about 100 epochs",
    "vgg-a-bn": "over 88 % within 20 epochs, about 89 % when it stops at 45",
    "speedrun-94": "94% on CIFAR-10 in 3.29 Seconds on a Single GPU (Jordan 2024)",
    "speedrun-96": "96% on CIFAR-10 (Jordan 2024)",
    "lenet-batch-size": "33.66 s, 38 %, 53.36 %; 33.23 s, 40 %, 45.43 %; 33.13 s, 35 to 41 %, 40.69 % (RTX 3050)",
    "lenet-tuning": "47.63, 60.25, 65.75 %",
    "lenet-tuning-batch": TUNED,
    "resnet18-tuning": "86.09, 88.59, 88.40, 89.56 %; 186, 300, 298, 306 s on one A100",
    "mnist-ablation": ABLATION,
    "cnn-comparison": "82.91, 92.61, 91.57 %",
}


def numbers(name: str) -> list[float]:
    return [float(text) for text in re.findall(r"\d+(?:\.\d+)?", SENTENCES.get(name, ""))]


def as_reports_write(metric: str, value: float) -> float:
    """Accuracies and utilisation in percent, everything else as it is."""
    return round(100 * value, 2) if metric.endswith("/accuracy") or metric == "utilization" else value


@pytest.mark.parametrize("name", presets.names())
def test_each_reported_figure_of_a_preset_stands_in_its_report(name: str) -> None:
    figures = presets.load(name).reported
    assert bool(figures) == (name in SENTENCES)
    for figure in figures:
        assert as_reports_write(figure.metric, figure.value) in numbers(name), figure


@pytest.mark.parametrize("name", study_names())
def test_each_reported_figure_of_a_study_stands_in_its_report(name: str) -> None:
    figures = [figure for run in load_declaration(name).runs for figure in run.reported]
    assert bool(figures) == (name in SENTENCES)
    between = [38.0] if name == "lenet-batch-size" else []  # the middle of "35 to 41 %"
    for figure in figures:
        assert as_reports_write(figure["metric"], figure["value"]) in numbers(name) + between, figure
