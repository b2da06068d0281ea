"""The stand-in returns what MMCV's own operators returned (`record.py`), in any layout; the rest it refuses by name."""

import inspect
import json
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mmhybrid import mmcv_ops
from mmhybrid.utils.optional import is_of_onedl

pytestmark = pytest.mark.dense
pytest.importorskip('mmcv.ops')
from mmcv import _ext, ops  # noqa: E402
from operator_cases import Case, cases  # noqa: E402

CASES = {case.name: case for case in cases()}
CALLS = [name for name in CASES if not name.startswith('detector')]
IS_COMPILED = _ext.__spec__.origin != mmcv_ops.__name__
HAS_TORCHVISION = hasattr(torch.ops.torchvision, 'roi_align')
RELATIVE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 4e-3}
SINGLE_ANYWAY = ('focal_loss',)  # the compiled kernel takes exponentials in single precision

# to compiled operators
WAY = 'pip install --no-build-isolation onedl-mmcv' if is_of_onedl('mmcv') else 'MMCV_WITH_OPS=1'


# an old torch, and its torchvision, compute float16 otherwise on CPUs
def each(names):
    half = pytest.mark.torch_since(2, 6)
    return pytest.mark.parametrize(
        'name', [pytest.param(name, marks=half if 'float16' in name else ()) for name in names]
    )


@cache
def recorded():
    with np.load(Path(__file__).parents[1] / 'data' / 'mmcv_ops.npz', allow_pickle=False) as data:
        return dict(data)


def of(case: Case, kind: str) -> dict[str, torch.Tensor]:
    prefix = f'{case.name}/{kind}/'
    found = {key[len(prefix) :]: value for key, value in recorded().items() if key.startswith(prefix)}
    return {name: torch.from_numpy(value.copy()) for name, value in found.items()}


def check(case: Case, outputs: dict[str, torch.Tensor]) -> None:
    expected = of(case, 'out')
    assert outputs.keys() == expected.keys() != set()
    for name, value in outputs.items():
        truth = expected[name]
        assert (value.shape, value.dtype) == (truth.shape, truth.dtype), name
        if not truth.is_floating_point():
            assert value.tolist() == truth.tolist(), name
            continue
        single = case.name.startswith(SINGLE_ANYWAY)
        relative = RELATIVE[torch.float32 if single and truth.dtype is torch.float64 else truth.dtype]
        scale = truth.nan_to_num().abs().max().item() if truth.numel() else 0.0
        torch.testing.assert_close(
            value.cpu(), truth, rtol=relative, atol=relative * scale, equal_nan=True, msg=f'{case.name}: {name}'
        )


def test_there_is_a_record_of_every_case():
    named = {key.split('/')[0] for key in recorded()} - {'origin', 'signatures'}
    assert named == set(CASES)
    assert json.loads(str(recorded()['origin']))['mmcv'] == '2.1.0'


@each(CASES)
def test_installed_operators_return_what_was_recorded(name):
    if IS_COMPILED and name.startswith(('roi_pool', 'focal_loss')):
        pytest.skip('MMCV compiles it for CUDA only')
    check(CASES[name], CASES[name].run(**of(CASES[name], 'in')))


@pytest.fixture
def stand_in(monkeypatch):
    """``mmcv.ops`` on the stand-in, also where MMCV is compiled."""
    if not HAS_TORCHVISION:
        pytest.skip("torchvision's operators do not load here")
    for module in ('nms', 'roi_align', 'roi_pool', 'focal_loss', 'deform_conv', 'modulated_deform_conv'):
        monkeypatch.setattr(sys.modules[f'mmcv.ops.{module}'], 'ext_module', mmcv_ops)


def spread(value: torch.Tensor) -> torch.Tensor:
    """The same numbers with other numbers between them."""
    return torch.stack([value, value + 1], -1)[..., 0]


def channels_last(value: torch.Tensor) -> torch.Tensor:
    return value.to(memory_format=torch.channels_last) if value.dim() == 4 else value


@pytest.mark.parametrize('lay_out', [spread, channels_last])
@each(CALLS)
def test_stand_in_takes_any_layout(stand_in, name, lay_out):
    inputs = {key: lay_out(value) for key, value in of(CASES[name], 'in').items()}
    check(CASES[name], CASES[name].run(**inputs))


@pytest.mark.gpu
@each(CASES)
def test_stand_in_runs_on_a_gpu(stand_in, name):
    if not torch.cuda.is_available():
        pytest.skip('needs a GPU')
    check(CASES[name], CASES[name].run(**{key: value.cuda() for key, value in of(CASES[name], 'in').items()}))


def test_equal_scores_are_taken_in_their_order(stand_in):
    """Where MMCV sorts unstably, any order is right; this one is the same everywhere."""
    boxes = torch.arange(80.0).view(-1, 1) * 20 + torch.tensor([0.0, 0, 10, 10])
    for offset in (0, 1):
        assert ops.nms(boxes, torch.ones(80), 0.5, offset)[1].tolist() == list(range(80))


def test_no_regions_and_no_logits(stand_in):
    values = torch.rand(2, 3, 5, 4, requires_grad=True)
    none = torch.zeros(0, 5)
    for pooled in (ops.roi_align(values, none, (2, 3)), ops.roi_pool(values, none, (2, 3))):
        assert pooled.shape == (0, 3, 2, 3)
        values.grad = None
        pooled.sum().backward()
        assert not values.grad.any()
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum')
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == (0, 4)


def test_bfloat16_is_computed_in_single_precision(stand_in):
    values, regions = torch.rand(1, 2, 9, 9), torch.tensor([[0, 1.0, 2, 7, 6]])
    low = values.bfloat16().requires_grad_()
    pooled = ops.roi_align(low, regions.bfloat16(), (2, 2))
    pooled.sum().backward()
    assert torch.equal(pooled, ops.roi_align(low.float(), regions, (2, 2)).bfloat16())
    assert low.grad.sum().item() == pytest.approx(8, rel=0.02)


def test_half_precision_boxes_do_not_overflow(stand_in):
    boxes = torch.tensor([[0, 0, 300, 300], [1, 0, 300, 300], [400, 400, 900, 900]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    for dtype in (torch.float16, torch.bfloat16):
        assert ops.nms(boxes.to(dtype), scores.to(dtype), 0.5)[1].tolist() == [0, 2]


def test_focal_loss_refuses_a_class_that_is_not_there(stand_in):
    with pytest.raises(ValueError, match='target: got 5, allowed: at most 4'):
        ops.sigmoid_focal_loss(torch.zeros(2, 4), torch.tensor([0, 5]), 2.0, 0.25, None, 'sum')


def test_roi_align_refuses_a_region_that_ends_before_it_starts(stand_in):
    with pytest.raises(RuntimeError, match='region that ends before'):
        ops.roi_align(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 3, 3, 1, 1]]), (2, 2))


def test_max_pooled_roi_align_is_refused_by_name(stand_in):
    with pytest.raises(NotImplementedError, match=rf"roi_align with pool_mode='max'.*{WAY}"):
        ops.roi_align(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]]), (2, 2), 1.0, 0, 'max', True)


def names_in_mmcv() -> set[str]:
    """Every name that a module of ``mmcv.ops`` asks of ``mmcv._ext``."""
    sources = [path.read_text() for path in Path(ops.__file__).parent.glob('*.py')]
    lists = [
        found for source in sources for found in re.findall(r"load_ext\(\s*'_ext',\s*\[(.*?)\]", source, re.DOTALL)
    ]
    return {name for found in lists for name in re.findall(r"'(\w+)'", found)}


@pytest.mark.skipif(IS_COMPILED, reason='MMCV is compiled')
def test_every_other_operator_is_refused_by_name():
    names = names_in_mmcv()
    assert {'nms_rotated', 'masked_im2col_forward', 'softmax_focal_loss_forward', 'nms'} < names
    assert set(mmcv_ops.OPERATORS) < names
    for name in names - set(mmcv_ops.OPERATORS):
        with pytest.raises(NotImplementedError, match=rf'operator {name} .*{WAY}'):
            getattr(_ext, name)(1, other=2)
    assert not hasattr(_ext, '_private')


def test_arguments_are_those_of_the_compiled_module():
    signatures = json.loads(str(recorded()['signatures']))
    assert set(signatures) == set(mmcv_ops.OPERATORS)
    for name, operator in mmcv_ops.OPERATORS.items():
        assert list(inspect.signature(operator).parameters) == signatures[name], name


@pytest.mark.skipif(IS_COMPILED, reason='MMCV is compiled')
def test_report_of_the_environment_says_who_provides_the_operators():
    assert 'mmhybrid' in ops.get_compiler_version()
    assert ops.get_compiling_cuda_version() == 'not available'
