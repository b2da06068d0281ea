"""The published implementations' names, weights and outputs, regenerated from ``tests/data/reference``.

A fixture holds the published names and shapes and, in float64 and eval mode, what the published code computes when its
weights come from :func:`fill` and its input from :func:`make_input`.
"""

import functools
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

REFERENCE = Path(__file__).parents[1] / 'data' / 'reference'


@dataclass(frozen=True)
class Published:
    weights: dict[str, torch.Tensor]
    images: torch.Tensor
    outputs: dict[str, torch.Tensor]


@pytest.fixture(scope='session')
def published():
    """``published(name)`` for ``glnet_stl``, ``glnet_4g`` or ``glit_tiny``."""
    return load_published


@functools.cache
def load_published(name):
    with np.load(REFERENCE / f'{name}.npz', allow_pickle=False) as data:
        outputs = {key: torch.from_numpy(data[key]) for key in data.files if key not in ('shapes', 'input_size')}
        shapes, size = json.loads(str(data['shapes'])), data['input_size'].tolist()
    weights = {key: torch.from_numpy(fill(key, shape)) for key, shape in shapes.items()}
    return Published(weights, make_input(*size), outputs)


def fill(name, shape):
    if name.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    last = name.rsplit('.')[-1]
    if last == 'slot_scale':
        noise = 4 + 0.5 * noise
    elif last == 'running_var':
        noise = 1 + 0.2 * np.abs(noise)
    elif last == 'gamma':
        noise = 0.5 + 0.1 * noise
    elif last in ('pos_embed', 'cls_token', 'init_slots'):
        noise = 0.2 * noise
    elif len(shape) >= 2:
        noise = noise / np.sqrt(np.prod(shape[1:]))
    else:
        noise = 0.1 * noise + (last == 'weight')
    return np.asarray(noise, np.float32)


def make_input(batch, height, width):
    noise = np.random.RandomState(batch * 1_000_003 + height * 1009 + width)
    return torch.from_numpy(noise.standard_normal((batch, 3, height, width)).astype(np.float32))
