"""What rounds say of networks and of the machine, against speeds that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mmhybrid.latency.rounds import (
    NUM_TIES,
    Group,
    Measurement,
    Rounds,
    divide_out_speed,
    repeatability,
    robust_median,
    speed_spread,
)
from mmhybrid.space import Arch

ARCHS = [Arch({'a': i}) for i in range(10)]


def test_median_ignores_outliers():
    ms, spread, kept = robust_median(np.array([10.0, 10.1, 9.9, 10.05, 9.95, 80.0]))
    assert ms == pytest.approx(10)
    assert kept == 5
    assert 0 < spread < 0.2
    assert robust_median(np.full(4, 3.0)) == (3.0, 0.0, 4)


def test_speed_of_the_machine_drops_out():
    usual = np.array([[10.0], [20.0], [35.0]])
    speed = np.array([[1.0, 1.0, 2.0, 1.5, 1.0]])
    assert divide_out_speed(usual * speed) == pytest.approx(np.repeat(usual, 5, axis=1))


def test_other_groups_are_given_at_the_speed_of_the_first():
    """The machine takes 1, 1/2, 1/3 as long in each group, and two of the ties 4 % more and less."""
    groups = [Group([*ARCHS[:NUM_TIES], ARCHS[NUM_TIES + i]]) for i in range(3)]
    odd = [1.04, 1 / 1.04, 1, 1, 1]
    for i, group in enumerate(groups):
        group.rounds = [[10.0 * k / (1 + i) * (odd[j] if i else 1) for j in range(len(odd))] for k in (0.9, 1, 1.1)]
        # every network varies by itself, or the variation of a round would be the machine's speed
        for j in range(len(odd)):
            column = [milliseconds[j] for milliseconds in group.rounds]
            for milliseconds, ms in zip(group.rounds, column[j % 3 :] + column[: j % 3], strict=True):
                milliseconds[j] = ms
    found = Rounds(groups).measurements()
    assert [Arch(measurement.arch) for measurement in found] == ARCHS[: NUM_TIES + 3]
    assert [measurement.ms for measurement in found] == pytest.approx([10.0] * len(found), rel=1e-3)
    first, later = found[NUM_TIES - 1], found[-1]
    assert later.spread > first.spread  # the noise of the ties is carried on
    assert later.spread < 1.5 * first.spread  # and small, as there are several


def test_repeatability_is_what_two_measurings_differ_by():
    archs = [{'a': i} for i in range(4)]
    first = [Measurement(arch, 10.0 * (i + 1), 0.1, 5) for i, arch in enumerate(archs)]
    slower = [replace(m, ms=2 * m.ms) for m in first[1:]]
    assert repeatability(first, slower) == pytest.approx(0)
    off = [replace(m, ms=m.ms * factor) for m, factor in zip(first, (1.02, 1 / 1.02, 1.02, 1 / 1.02), strict=True)]
    assert repeatability(first, off) == pytest.approx(math.log(1.02) * math.sqrt(4 / 3) / math.sqrt(2))


def test_speed_spread_is_what_rounds_have_in_common():
    """Of two groups with other networks beside the ties, and of a second measuring, on a machine that gets slower."""
    times = 1.0 + np.arange(NUM_TIES + 3)
    slower = np.exp(0.1 * np.arange(9.0))
    groups = [times, np.append(times[:NUM_TIES], 20.0)]
    names = [ARCHS[: len(times)], [*ARCHS[:NUM_TIES], ARCHS[len(times)]]]
    timed = [
        Group(archs, np.outer(slower[3 * i : 3 * i + 3], group).tolist())
        for i, (archs, group) in enumerate(zip(names, groups, strict=True))
    ]
    again = Rounds([Group(ARCHS[:2], np.outer(slower[6:], times[:2]).tolist())])
    assert speed_spread(Rounds(timed), again) == pytest.approx(np.std(np.log(slower), ddof=1))
