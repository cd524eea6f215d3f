"""Settings that no run should begin with, each with the one fault that must be told, and where."""

from __future__ import annotations

from typing import Any

NAN, INF, HUGE = float("nan"), float("inf"), 10**400
Row = tuple[str, Any, dict[str, Any]]

TRAINING: list[Row] = [
    ("training.epochs", 0, {}),
    ("training.epochs", -1, {}),
    ("training.epochs", 1.5, {}),
    ("training.epochs", True, {}),
    ("training.epochs", HUGE, {}),
    ("training.epochs", "ten", {}),
    ("training.batch_size", 0, {}),
    ("training.batch_size", -32, {}),
    ("training.batch_size", False, {}),
    ("training.batch_size", 97, {}),
    ("training.batch_size", HUGE, {}),
    ("training.accumulation", 0, {}),
    ("training.accumulation", 33, {}),
    ("training.evaluation_batch_size", 0, {}),
    ("training.evaluation_batch_size", -5, {}),
    ("training.evaluation_batch_size", True, {}),
    ("training.evaluation_batch_size", "half", {}),
    ("training.evaluation_batch_size", 2.5, {}),
    ("training.precision", "fp8", {}),
    ("training.precision", "fp16", {}),
    ("training.precision", 16, {}),
    ("training.lookahead", -1, {}),
    ("training.lookahead", True, {}),
    ("training.lookahead", HUGE, {}),
    ("training.evaluation_batch_size", HUGE, {}),
    ("training.label_smoothing", -0.1, {}),
    ("training.label_smoothing", 1.0, {}),
    ("training.label_smoothing", NAN, {}),
    ("training.gradient_clipping", -1.0, {}),
    ("training.gradient_clipping", NAN, {}),
    ("training.gradient_clipping", INF, {}),
    ("training.on_divergence", "ignore", {}),
    ("training.patience", -1, {}),
    ("training.patience_metric", "f1", {}),
    ("training.target_accuracy", 1.1, {}),
    ("training.target_accuracy", 97, {}),
    ("training.target_accuracy", NAN, {}),
    ("training.test_time", "twice", {}),
    ("training.test_time_share", 0, {}),
    ("training.test_time_share", 1.5, {}),
    ("training.log_interval", -1, {}),
    ("training.channels_last", "yes", {}),
    ("training.compile", "no", {}),
    ("training.compile", 1, {}),
    ("training.seed", -1, {}),
    ("training.seed", 2**63, {}),
    ("training.seed", 1.0e400, {}),
    ("training.seed", True, {}),
    ("training.device", "gpu", {}),
    ("training.device", "cuda:99", {}),
    ("training.threads", 0, {}),
    ("training.threads", -2, {}),
    ("training.threads", True, {}),
    ("training.threads", HUGE, {}),
    ("training.deterministic", "true", {}),
    ("training.colour", 1, {}),
]

LEARNING_RATES: list[Row] = [
    (f"optimizer.{key}", value, {"optimizer.name": name})
    for name, keys in {"sgd": ["lr"], "adam": ["lr"], "adamw": ["lr"], "muon": ["lr", "last_lr", "bias_lr"]}.items()
    for key in keys
    for value in (0, -0.1, NAN, INF, 1e30, HUGE, True, "fast", None)
]
WEIGHT_DECAYS: list[Row] = [
    ("optimizer.weight_decay", value, {"optimizer.name": name})
    for name in ("sgd", "adam", "adamw", "muon")
    for value in (-0.01, NAN, INF, 2.0)
]
OPTIMIZERS: list[Row] = [
    *LEARNING_RATES,
    *WEIGHT_DECAYS,
    ("optimizer.momentum", 5, {}),
    ("optimizer.momentum", 1.0, {}),
    ("optimizer.momentum", -0.1, {}),
    ("optimizer.momentum", NAN, {}),
    ("optimizer.nesterov", True, {"optimizer.momentum": 0.0}),
    ("optimizer.nesterov", "yes", {}),
    ("optimizer.beta1", 1.0, {"optimizer.name": "adam"}),
    ("optimizer.beta1", -0.5, {"optimizer.name": "adamw"}),
    ("optimizer.beta2", 1.0, {"optimizer.name": "adamw"}),
    ("optimizer.beta2", NAN, {"optimizer.name": "adam"}),
    ("optimizer.eps", 0, {"optimizer.name": "adam"}),
    ("optimizer.eps", -1e-8, {"optimizer.name": "adamw"}),
    ("optimizer.eps", INF, {"optimizer.name": "adamw"}),
    ("optimizer.iterations", 0, {"optimizer.name": "muon"}),
    ("optimizer.iterations", 2.5, {"optimizer.name": "muon"}),
    ("optimizer.other_momentum", 1.0, {"optimizer.name": "muon"}),
    ("optimizer.momentum", 0.9, {"optimizer.name": "adam"}),
    ("optimizer.name", "sdg", {}),
    ("optimizer.name", 1, {}),
]

SCHEDULES: list[Row] = [
    ("schedule.warmup_epochs", value, {"schedule.name": name})
    for name in ("constant", "cosine", "step", "one-cycle", "triangular", "plateau")
    for value in (-1, NAN, 3)
] + [
    ("schedule.epochs", -1, {"schedule.name": "cosine"}),
    ("schedule.epochs", 1.5, {"schedule.name": "cosine"}),
    ("schedule.epochs", HUGE, {"schedule.name": "cosine"}),
    ("schedule.every", HUGE, {"schedule.name": "step"}),
    ("schedule.final", -0.1, {"schedule.name": "cosine"}),
    ("schedule.final", 1.5, {"schedule.name": "one-cycle"}),
    ("schedule.per", "batch", {"schedule.name": "cosine"}),
    ("schedule.every", 0, {"schedule.name": "step"}),
    ("schedule.every", -30, {"schedule.name": "step"}),
    ("schedule.factor", 0, {"schedule.name": "step"}),
    ("schedule.factor", 1.5, {"schedule.name": "step"}),
    ("schedule.factor", 1.0, {"schedule.name": "plateau"}),
    ("schedule.patience", -1, {"schedule.name": "plateau"}),
    ("schedule.rise", 0, {"schedule.name": "one-cycle"}),
    ("schedule.rise", 1.0, {"schedule.name": "triangular"}),
    ("schedule.initial", 0, {"schedule.name": "one-cycle"}),
    ("schedule.initial", NAN, {"schedule.name": "triangular"}),
    ("schedule.name", "cosin", {}),
]

MODELS: list[Row] = [
    ("model.name", "resnt18", {}),
    ("model.name", None, {}),
    ("model.dropout", 1.0, {}),
    ("model.dropout", -0.1, {}),
    ("model.dropout", NAN, {"model.name": "resnet9"}),
    ("model.dropout", True, {"model.name": "improved-cnn"}),
    ("model.width", -1, {}),
    ("model.whitening", 6, {"model.name": "airbench"}),
    ("model.width1", 0, {"model.name": "airbench"}),
    ("model.width3", HUGE, {"model.name": "airbench"}),
    ("model.depth", 1, {"model.name": "airbench"}),
    ("model.scale", 0, {"model.name": "airbench"}),
    ("model.scale", INF, {"model.name": "airbench"}),
    ("model.activation", "tanh", {"model.name": "airbench"}),
    ("model.depth", 27, {"model.name": "wrn-28-10"}),
    ("model.depth", 4, {"model.name": "wrn-28-10"}),
    ("model.widen_factor", 0, {"model.name": "wrn-28-10"}),
]

DATA: list[Row] = [
    ("data.name", "cifar11", {}),
    ("data.size", 0, {}),
    ("data.size", -16, {}),
    ("data.size", 2048, {}),
    ("data.size", True, {}),
    ("data.normalization", "imagenet-1k", {}),
    ("data.normalization", "mnist", {}),
    ("data.crop_padding", -1, {}),
    ("data.crop_padding", 65, {}),
    ("data.crop_padding", 16, {"data.crop_fill": "reflect"}),
    ("data.crop_fill", "edge", {}),
    ("data.flip", "sometimes", {}),
    ("data.flip", 1, {}),
    ("data.jitter", -0.1, {}),
    ("data.jitter", 1.0, {}),
    ("data.jitter", NAN, {}),
    ("data.cutout", -1, {}),
    ("data.crop", "middle", {}),
    ("data.crop_scale", 0, {"data.crop": "random-resized"}),
    ("data.crop_ratio", 0.5, {"data.crop": "random-resized"}),
    ("data.cache_side", 64, {}),
    ("data.cache_side", 4, {"data.crop": "center"}),
    ("data.cache_side", 4096, {"data.crop": "center"}),
    ("data.rotation", 181, {}),
    ("data.color_jitter", 1.5, {}),
    ("data.auto_augment", "augmix", {}),
    ("data.auto_augment_operations", 0, {"data.auto_augment": "rand"}),
    ("data.auto_augment_magnitude", 31, {"data.auto_augment": "rand"}),
    ("data.erasing", 1.1, {}),
    ("data.validation", "k-fold", {}),
    ("data.validation_fraction", 0, {"data.validation": "held-out"}),
    ("data.validation_fraction", 1.0, {"data.validation": "held-out"}),
    ("data.validation_fraction", 0.001, {"data.validation": "held-out"}),
    ("data.train_limit", -1, {}),
    ("data.train_limit", 1.5, {}),
    ("data.test_limit", -1, {}),
    ("data.source", "cloud", {}),
    ("data.download", "maybe", {}),
    ("data.classes", 1, {}),
    ("data.channels", 2, {}),
    ("data.train_images", 1, {}),
    ("data.test_images", 0, {}),
    ("data.noise", 2, {}),
    ("data.noise", NAN, {}),
    ("data.path", "", {"data.name": "image-folder"}),
]

BAD_SETTINGS = [*TRAINING, *OPTIMIZERS, *SCHEDULES, *MODELS, *DATA]
