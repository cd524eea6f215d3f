"""Statistics: confidence intervals of accuracies, spread over seeds, McNemar's test of two runs on the same images."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, erfc, isfinite, sqrt

Z95 = 1.959963984540054
"""The 97.5th percentile of the standard normal distribution."""
FEW_DISCORDANT = 25
"""With fewer discordant pairs the chi-square approximation of McNemar's statistic is too coarse."""
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a confidence interval, as fractions."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of some figures; `deviation` is None for a single one."""

    mean: float
    deviation: float | None
    number: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of two runs: the images that only the first, or only the second, classified correctly."""

    only_first: int
    only_second: int
    images: int
    p: float

    @property
    def difference(self) -> float:
        """The accuracy of the first minus that of the second, as a fraction."""
        return (self.only_first - self.only_second) / self.images if self.images else 0.0

    @property
    def within_noise(self) -> bool:
        """Whether the difference is not significant at the level of 5 %."""
        return self.p >= LEVEL

    @property
    def words(self) -> str:
        """The outcome as text: "the difference of 0.2 points is within noise (p = 0.41)"."""
        verdict = "within noise" if self.within_noise else "more than noise"
        return f"the difference of {_points(self.difference)} points is {verdict} ({p_words(self.p)})"


def wilson(share: float, images: int) -> Interval | None:
    """Wilson's 95 % score interval of a share of `images`; None where the share is not valid.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if images <= 0 or not 0 <= share <= 1:
        return None
    z = Z95
    denominator = 1 + z * z / images
    center = (share + z * z / (2 * images)) / denominator
    half = z / denominator * sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    return Interval(max(0.0, center - half), min(1.0, center + half))


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation (n - 1) of the finite values; None where there are none."""
    sound = [value for value in values if isfinite(value)]
    if not sound:
        return None
    deviation = statistics.stdev(sound) if len(sound) > 1 else None
    return Spread(statistics.fmean(sound), deviation, len(sound))


def mcnemar(only_first: int, only_second: int, images: int) -> McNemar:
    """McNemar's test: exact for few discordant pairs, else chi-square (one degree of freedom) with Edwards' correction.

    McNemar, Psychometrika 12 (1947); Edwards, Psychometrika 13 (1948); the exact form is the binomial sign test.
    """
    discordant = only_first + only_second
    if discordant < FEW_DISCORDANT:
        return McNemar(only_first, only_second, images, _exact(min(only_first, only_second), discordant))
    statistic = max(0.0, abs(only_first - only_second) - 1) ** 2 / discordant
    # The upper tail of chi-square with one degree of freedom.
    return McNemar(only_first, only_second, images, erfc(sqrt(statistic / 2)))


def _exact(fewer: int, discordant: int) -> float:
    """Twice the binomial tail of a fair coin, at most 1."""
    tail = sum(comb(discordant, hits) for hits in range(fewer + 1)) / 2**discordant
    return min(1.0, 2 * tail)


def p_words(p: float) -> str:
    """A p-value as text: two decimals, three for small ones, "p < 0.001" below."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.2f}" if p >= 0.095 else f"p = {p:.3f}"


def _points(difference: float) -> str:
    points = abs(100 * difference)
    return f"{points:.1f}" if points >= 0.095 or not points else f"{points:.2f}"
