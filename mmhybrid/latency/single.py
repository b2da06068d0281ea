"""The latency of one network, measured and predicted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import random_images
from mmhybrid.latency.devices import Device
from mmhybrid.latency.rounds import robust_median
from mmhybrid.latency.table import LatencyTable
from mmhybrid.models.input_channels import input_channels
from mmhybrid.utils.checks import check_int

WARM_UP = 2


@dataclass(frozen=True)
class Timed:
    """What a network took.

    Args:
        ms: Median milliseconds of a batch.
        spread: Standard deviation of that median.
        repeats: Timed runs that were kept.
    """

    ms: float
    spread: float
    repeats: int

    def __str__(self) -> str:
        return f'{self.ms:.4g} ms, give or take {self.spread:.2g}'


@dataclass(frozen=True)
class Predicted:
    """What a latency table says of a network.

    Args:
        ms: Milliseconds of a batch.
        low: What a measurement is below with a probability of 5 %.
        high: What it is below with 95 %.
    """

    ms: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.ms:.4g} ms, nine of ten measurements from {self.low:.4g} to {self.high:.4g}'


def time_network(network: nn.Module, shape: tuple[int, int], device: Device, repeats: int) -> Timed:
    """Measure a network alone.

    Args:
        network: Takes images (B, C, H, W); it is put into eval mode.
        shape: Height and width of the images.
        device: Where, and how.
        repeats: Timed rounds, of each of which the faster of two runs counts.

    Raises:
        ValueError: If the backend does not run here, or ``repeats`` is no int >= 2.
    """
    check_int('repeats', repeats, 2)
    backend = device.open()
    generator = torch.Generator().manual_seed(0)
    images = random_images(device.batch, input_channels(network), *shape, generator=generator)
    with backend.running():
        jobs = [backend.build(network.eval(), images)]
        rounds = [backend.time_round(jobs)[0] for _ in range(WARM_UP + repeats)]
    return Timed(*robust_median(np.array(rounds[WARM_UP:])))


def time_arch(arch: Mapping[str, Any], table: LatencyTable, repeats: int, workload: Workload | None = None) -> Timed:
    """Measure a network of a table's space as its own were.

    Args:
        arch: The network.
        table: The table.
        repeats: Timed rounds.
        workload: Its networks, see :func:`mmhybrid.latency.load.workload_for`; None to build them from the table alone.

    Raises:
        ValueError: As :func:`time_network` and :meth:`LatencyTable.build_workload`.
    """
    workload = workload or table.build_workload()
    _, height, width = workload.input_shape(arch)
    return time_network(workload.build_network(arch), (height, width), table.device, repeats)


def predict_arch(arch: Mapping[str, Any], table: LatencyTable, workload: Workload | None = None) -> Predicted:
    """What a table predicts for a network of its space.

    Args:
        arch: The network.
        table: The table.
        workload: Its networks, see :func:`mmhybrid.latency.load.workload_for`; None to build them from the table alone.

    Raises:
        ValueError: If the table lacks a part of the network, or its space the network.
    """
    workload = workload or table.build_workload()
    cost = Estimator(workload, table)(arch)
    assert cost.latency_ms is not None
    assert cost.latency_upper_ms is not None
    return Predicted(cost.latency_ms, max(0.0, 2 * cost.latency_ms - cost.latency_upper_ms), cost.latency_upper_ms)
