"""The analytic model is a roofline: closed forms at its two sides."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.operations import Operation, count_part
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import MODEL_STD, NOMINAL, AnalyticLatency
from mmhybrid.latency.devices import Device
from mmhybrid.models.parts import Part
from mmhybrid.space import GLiTSpace

RATES = replace(
    NOMINAL,
    macs_per_ms={'convolution': 1000.0, 'depthwise': 100.0, 'matmul': 2000.0},
    elements_per_ms=10.0,
    start_ms={'convolution': 0.5, 'depthwise': 0.5, 'matmul': 0.5, 'other': 0.25},
    parallel_macs={'convolution': 500.0, 'depthwise': 0.0, 'matmul': 0.0},
)


@pytest.mark.parametrize(
    ('operation', 'batch', 'expected'),
    [
        (Operation('matmul', 4000, 5, 5), 1, 0.5 + 2),  # computing
        (Operation('matmul', 4000, 50, 50), 1, 0.5 + 10),  # moving
        (Operation('other', 0, 20, 0), 1, 0.25 + 2),
        (Operation('depthwise', 100, 10, 10), 3, 0.5 + 4),  # weights move once for the batch
        (Operation('convolution', 100, 0, 0), 1, 0.5 + 0.5),  # too small to keep the device busy
        (Operation('convolution', 100, 0, 0), 10, 0.5 + 1),
    ],
)
def test_operation(operation, batch, expected):
    assert AnalyticLatency(RATES, batch).operation_latency(operation) == pytest.approx(expected)


def test_operations_of_a_part():
    with torch.device('meta'):
        network = nn.ModuleDict({'conv': nn.Conv2d(4, 8, 3, padding=1), 'linear': nn.Linear(6, 10)})
        network['depthwise'] = nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False)
    pieces = (('conv', (4, 7, 7)), ('linear', (3, 6)), ('depthwise', (4, 7, 7)), ('absent', (1,)), ('conv.bias',))
    cost = count_part(network, pieces)
    assert cost.params == 4 * 8 * 9 + 8 + 70 + 100 + 8
    assert cost.macs == 49 * 8 * 36 + 3 * 60 + 49 * 100
    products = [operation for operation in cost.operations if operation.macs]
    assert [operation.kind for operation in products] == ['convolution', 'matmul', 'depthwise']
    assert products[0] == Operation('convolution', 49 * 8 * 36, 49 * 4 + 49 * 8, 8 * 36 + 8)


def test_network_is_the_sum_of_its_parts():
    space, model = GLiTSpace(embed_dims=24, num_blocks=2, level='attention'), AnalyticLatency(RATES)
    backbone = {'type': 'mmhybrid.GLiT', 'img_size': 32}
    costs = [Estimator(Workload(space, backbone, 32, classes), model)(space.largest()) for classes in (None, 10)]
    head = model.part_latency(Part('head', {}), count_part(nn.Linear(1, 1), ())).ms
    assert costs[1].latency_ms - costs[0].latency_ms == pytest.approx(head - 0.5 + 0.5 + 250 / 10)
    assert costs[0].latency_upper_ms == pytest.approx(costs[0].latency_ms * (1 + 1.645 * MODEL_STD))


def test_file_keeps_everything(tmp_path):
    device = Device.here('cpu', 'eager', 'float32', 2, 1)
    for model in (AnalyticLatency(RATES, 2), AnalyticLatency(RATES, 2, device)):
        model.save(tmp_path / 'model.json')
        assert AnalyticLatency.load(tmp_path / 'model.json') == model


def test_slowed_rates():
    operation = Operation('matmul', 4000, 5, 5)
    for kind in (operation, replace(operation, activations=50), replace(operation, kind='other', macs=0)):
        slow, fast = (AnalyticLatency(rates).operation_latency(kind) for rates in (RATES.slowed(3), RATES))
        assert slow == pytest.approx(3 * fast)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda raw: raw['rates'].update(elements_per_ms=0), 'elements_per_ms: got 0'),
        (lambda raw: raw['rates']['macs_per_ms'].pop('matmul'), 'missing matmul'),
        (lambda raw: raw.pop('batch'), 'missing batch'),
        (lambda raw: raw.update(batch=2.7), r'batch: got 2\.7'),
        (lambda raw: raw['device'].update(batch=3), 'batch: got 1, allowed: that of its device, 3'),
        (lambda raw: raw.update(format=1), 'format: got 1'),
    ],
)
def test_wrong_files(tmp_path, change, word):
    path = tmp_path / 'model.json'
    AnalyticLatency(RATES, 1, Device.here('cpu', 'eager', 'float32', 1, 1)).save(path)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=word):
        AnalyticLatency.load(path)
