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
    """The measured latency of a network.

    Args:
        ms: Median latency of a batch in milliseconds.
        spread: Standard deviation of that median.
        repeats: Number of timed runs, not counting outliers.
    """

    ms: float
    spread: float
    repeats: int

    def __str__(self) -> str:
        return f'{self.ms:.4g} ms, give or take {self.spread:.2g}'


@dataclass(frozen=True)
class Predicted:
    """The latency of a network as a latency table predicts it.

    Args:
        ms: Milliseconds of a batch.
        low: 5th percentile of a measurement in milliseconds, at least 0.
        high: 95th percentile of a measurement in milliseconds.
    """

    ms: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.ms:.4g} ms, 90 % prediction interval from {self.low:.4g} to {self.high:.4g}'


def time_network(network: nn.Module, shape: tuple[int, int], device: Device, repeats: int) -> Timed:
    """Measure the latency of a single network.

    Args:
        network: A module that takes images (B, C, H, W); it is put into eval mode.
        shape: Height and width of the images.
        device: The device and how it is used.
        repeats: Number of timed rounds; in each, the faster of two runs counts.

    Raises:
        ValueError: If the backend does not run here, or ``repeats`` is not an int of at least 2.
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
    """Measure a network of a table's space with the device and settings of the table.

    Args:
        arch: The network.
        table: The table.
        repeats: Number of timed rounds.
        workload: The table's networks, see :func:`mmhybrid.latency.load.workload_for`; None to build them from the
            table alone.

    Raises:
        ValueError: For the reasons of :func:`time_network` and :meth:`LatencyTable.build_workload`.
    """
    workload = workload or table.build_workload()
    _, height, width = workload.input_shape(arch)
    return time_network(workload.build_network(arch), (height, width), table.device, repeats)


def predict_arch(arch: Mapping[str, Any], table: LatencyTable, workload: Workload | None = None) -> Predicted:
    """Predict the latency of a network from a table of its space.

    Args:
        arch: The network.
        table: The table.
        workload: The table's networks, see :func:`mmhybrid.latency.load.workload_for`; None to build them from the
            table alone.

    Raises:
        ValueError: If the table lacks a part of the network, or the network is not in the table's space.
    """
    workload = workload or table.build_workload()
    cost = Estimator(workload, table)(arch)
    assert cost.latency_ms is not None
    assert cost.latency_upper_ms is not None
    return Predicted(cost.latency_ms, max(0.0, 2 * cost.latency_ms - cost.latency_upper_ms), cost.latency_upper_ms)
