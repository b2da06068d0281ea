"""The cases of other tests are run here on another device."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope='session')
def device() -> str:
    """``MMHYBRID_TEST_DEVICE``: cuda in `make gpu-check`, or cpu."""
    name = os.environ.get('MMHYBRID_TEST_DEVICE', 'cpu')
    if name == 'cuda' and not torch.cuda.is_available():
        pytest.fail('MMHYBRID_TEST_DEVICE: got cuda, which this torch does not find')
    return name


@pytest.fixture
def full_precision() -> Iterator[None]:
    """No TensorFloat-32: float32 is compared with float64."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
