"""Networks compute on a GPU what they compute in float64 on the CPU; run by `make gpu-check`.

Without a GPU the same tests run on the CPU, among the slow ones, so that they are in order once there is one.
"""

import copy
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import supernet_cases
import test_contract as contract
import test_one_shot
import test_resume
import torch
from mmengine.registry import MODELS as HOST_MODELS
from mmengine.registry import DefaultScope, init_default_scope
from torch import Tensor, nn

from mmhybrid.apis.configs import load_config
from mmhybrid.counting.workload import Workload
from mmhybrid.engine.bn_calibration import calibrate
from mmhybrid.latency.backends import Backend
from mmhybrid.latency.devices import Device
from mmhybrid.latency.profile import profile
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan
from mmhybrid.registry import MODELS
from mmhybrid.space import Arch, GLiTSpace

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.gpu, pytest.mark.slow]
LOW = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def on(device: str, value: Tensor) -> Tensor:
    return value.to(device)


def loss_of(outputs: tuple[Tensor, ...]) -> Tensor:
    """The same random loss on every device and in every precision."""
    generator = torch.Generator().manual_seed(2)
    return sum((out * torch.randn(out.shape, generator=generator).to(out)).sum() for out in outputs)


def outputs_and_gradients(model: nn.Module, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
    outputs = model(x)
    loss_of(outputs).backward()
    grads = {name: parameter.grad.cpu() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return [out.detach().cpu() for out in outputs], grads


def assert_close_to_float64(
    found: tuple[list[Tensor], dict[str, Tensor]], exact: tuple[list[Tensor], dict[str, Tensor]], tolerance: float
) -> None:
    """Outputs, and gradients but for those that are zero but for rounding."""
    assert [relative(*pair) for pair in zip(found[0], exact[0], strict=True)] == pytest.approx(
        [0.0] * len(exact[0]), abs=tolerance
    )
    assert found[1].keys() == exact[1].keys()
    largest = max(float(grad.norm()) for grad in exact[1].values())
    for name, grad in exact[1].items():
        error = float((found[1][name].double() - grad).norm())
        assert error <= 10 * tolerance * float(grad.norm()) + tolerance * largest, name


def relative(found: Tensor, exact: Tensor) -> float:
    return float((found.detach().double().cpu() - exact).norm() / exact.norm())


@contract.each_case
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.usefixtures('full_precision')
def test_forward_and_backward_in_float32(case: contract.Case, training: bool, device: str) -> None:
    exact = outputs_and_gradients(case.build().train(training).double(), contract.image().double())
    model = case.build().train(training).to(device)
    assert_close_to_float64(outputs_and_gradients(model, on(device, contract.image())), exact, 1e-4)


@contract.each_case
@pytest.mark.parametrize('dtype', LOW)
def test_autocast(case: contract.Case, dtype: str, device: str) -> None:
    model, x = case.build().eval(), contract.image()
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(x.double())
    model.to(device)
    with torch.autocast(device, LOW[dtype]):
        outputs = model(on(device, x))
    contract.assert_contiguous(outputs)
    allowed = case.bfloat16_error if dtype == 'bfloat16' else 0.02
    assert max(relative(*pair) for pair in zip(outputs, exact, strict=True)) < allowed
    loss_of(outputs).backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, grad in grads.items() if grad is None or not grad.isfinite().all() or not grad.any()] == []


@contract.each_case
@pytest.mark.usefixtures('full_precision')
def test_channels_last(case: contract.Case, device: str) -> None:
    exact = outputs_and_gradients(case.build().train().double(), contract.image(2, 64, 96).double())
    model = case.build().train().to(device, memory_format=torch.channels_last)
    x = on(device, contract.image(2, 64, 96)).to(memory_format=torch.channels_last)
    contract.assert_contiguous(model(x))
    model = case.build().train().to(device, memory_format=torch.channels_last)
    assert_close_to_float64(outputs_and_gradients(model, x), exact, 1e-4)


@contract.one_of_each
@pytest.mark.usefixtures('full_precision')
def test_compiled(case: contract.Case, device: str) -> None:
    compilers = ('g++', 'clang++') if device == 'cpu' else ('gcc', 'clang', 'cc')
    if not any(map(shutil.which, compilers)) or not Path(sysconfig.get_path('include'), 'Python.h').is_file():
        pytest.skip('no C compiler, or no headers of this Python')
    torch._dynamo.reset()
    model, x = case.build().eval(), contract.image()
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(x.double())
        outputs = torch.compile(model.to(device), fullgraph=True)(on(device, x))
    contract.assert_contiguous(outputs)
    assert max(relative(*pair) for pair in zip(outputs, exact, strict=True)) < 1e-4


@pytest.mark.parametrize('case', supernet_cases.FAMILIES, ids=lambda case: case.name)
@pytest.mark.usefixtures('full_precision')
def test_supernet_step(case: supernet_cases.Case, device: str) -> None:
    """A random subnet's outputs and gradients are those of the exported network, which runs in float64."""
    supernet = case.build().train().to(device)
    supernet.set_arch(supernet.space.sample(random.Random(1)))
    config, weights = supernet.export()
    alone = MODELS.build(config)
    alone.load_state_dict({name: value.cpu() for name, value in weights.items()})
    exact = outputs_and_gradients(alone.train().double(), case.images())
    outputs, shared = outputs_and_gradients(supernet, on(device, case.images().float()))
    pairs = [
        (out.narrow(1 if out.ndim == 4 else -1, 0, wanted.shape[1 if out.ndim == 4 else -1]), wanted)
        for out, wanted in zip(outputs, exact[0], strict=True)
    ]
    assert max(relative(*pair) for pair in pairs) < 1e-4
    assert shared
    assert all(grad.isfinite().all() for grad in shared.values())


@pytest.fixture
def _mmpretrain_scope() -> None:
    import mmpretrain.models  # noqa: F401

    DefaultScope.get_instance('gpu_tests', scope_name='mmpretrain')


@pytest.mark.usefixtures('_mmpretrain_scope', 'full_precision')
def test_calibration(device: str) -> None:
    """Statistics of the norms, the first of which are those of the stem's maps."""
    model = test_one_shot.one_shot().to(device)
    model.set_arch(model.space.smallest())
    inputs = [torch.randint(0, 255, (4, 3, 64, 64)).float() for _ in range(3)]
    stem = copy.deepcopy(model.supernet.weights.stem).cpu().double()
    with torch.no_grad():
        maps = [stem[0](x.double()) for x in inputs]
    calibrate(model.eval(), [{'inputs': x} for x in inputs])
    norm = model.supernet.weights.stem[1]
    assert norm.running_mean.device.type == device
    mean, variance = (torch.stack(values).mean(0) for values in zip(*(moments(x) for x in maps), strict=True))
    assert relative(norm.running_mean, mean) < 1e-4
    assert relative(norm.running_var, variance) < 1e-4
    with torch.no_grad():
        assert model(on(device, inputs[0]), mode='tensor').isfinite().all()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean((0, 2, 3)), x.var((0, 2, 3))


def build_detector(name: str) -> nn.Module:
    cfg = load_config(str(ROOT / f'configs/demo/{name}.py'))
    cfg.model.backbone.drop_path_rate = 0.0
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return HOST_MODELS.build(cfg.model)


def detector_data(size: int = 128) -> dict[str, Any]:
    from mmdet.testing import demo_mm_inputs

    return demo_mm_inputs(2, [[3, size, size]] * 2, num_items=[3, 2], num_classes=8, with_mask=True)


def losses_of(model: nn.Module, data: dict[str, Any]) -> tuple[Tensor, dict[str, float]]:
    found = model.data_preprocessor(copy.deepcopy(data), True)
    losses = model(**found, mode='loss')
    return model.parse_losses(losses)


@pytest.mark.dense
@pytest.mark.parametrize('family', ['glnet', 'glit', 'autovit'])
@pytest.mark.usefixtures('full_precision')
def test_retinanet(family: str, device: str) -> None:
    """Focal loss and NMS; the losses are those of the CPU."""
    data = detector_data()
    cpu = losses_of(build_detector(f'{family}_retinanet').train(), data)[1]
    model = build_detector(f'{family}_retinanet').train().to(device)
    total, losses = losses_of(model, data)
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(
        {name: float(value) for name, value in cpu.items()}, rel=1e-3
    )
    take_step_and_predict(model, total, data)


@pytest.mark.dense
@pytest.mark.parametrize('family', ['glnet', 'glit', 'autovit'])
def test_mask_rcnn(family: str, device: str) -> None:
    """RoIAlign, and masks; which regions are drawn depends on the device."""
    data = detector_data()
    model = build_detector(f'{family}_det').train().to(device)
    total, losses = losses_of(model, data)
    assert 'loss_mask' in losses
    take_step_and_predict(model, total, data)


def take_step_and_predict(model: nn.Module, total: Tensor, data: dict[str, Any]) -> None:
    """Gradients, weights and boxes are finite, and the boxes lie on the device."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    with torch.no_grad():
        found = model.eval()(**model.data_preprocessor(copy.deepcopy(data), False), mode='predict')
    assert len(found) == 2
    for sample in found:
        boxes = sample.pred_instances.bboxes
        assert boxes.device == next(model.parameters()).device
        assert boxes.isfinite().all()


def test_latency_table(device: str, tmp_path: Path) -> None:
    """Measured and read again; on a GPU a network takes as long by CUDA events as by the clock of the table."""
    space = GLiTSpace(embed_dims=96, num_blocks=2, level='attention')
    costs = Workload(space, {'type': 'mmhybrid.GLiT', 'img_size': 64, 'patch_size': 16}, 64, 5)
    here = Device.here(device, 'eager', 'float32', 8, torch.get_num_threads())
    table = profile(costs, here, Plan(networks=6, repeats=4, warmup=2), tmp_path / 'table.json')
    assert LatencyTable.load(tmp_path / 'table.json') == table
    assert len(table.measurements) == 6
    if device == 'cpu':
        return
    arch = Arch(table.measurements[0].arch)
    job = Backend(device, 'float32', 1).build(costs.build_network(arch), torch.rand(8, 3, 64, 64))
    assert table.measurements[0].ms == pytest.approx(event_ms(job), rel=0.25)


def event_ms(job: Any, runs: int = 30) -> float:
    """Median milliseconds between two events on the GPU."""
    found = []
    for _ in range(runs):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        job()
        end.record()
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end))
    return sorted(found)[runs // 2]


images = test_resume.images


def test_kill_and_resume(device: str, images: str, tmp_path: Path) -> None:
    """A training that is killed and started again has the losses of one that is not, but for the order of sums."""
    (tmp_path / 'whole.py').write_text(test_resume.CONFIG.format(images=images, **test_resume.LOOPS['supernet']))
    (tmp_path / 'killed.py').write_text(test_resume.KILLED_CONFIG.format(at=18))
    (tmp_path / 'killer.py').write_text(test_resume.KILLER)

    def train(config: str, work_dir: str, *options: str) -> int:
        paths = [str(tmp_path), str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
        env = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
        if device == 'cpu':
            env['CUDA_VISIBLE_DEVICES'] = ''
        with open(tmp_path / 'output.txt', 'w') as output:  # a pipe would wait for the orphaned workers
            command = [sys.executable, str(ROOT / 'tools/train.py'), config, '--work-dir', work_dir, *options]
            seed = ['--cfg-options', 'randomness.seed=7']
            return subprocess.run([*command, *seed], cwd=tmp_path, env=env, stdout=output, stderr=output).returncode

    assert train('whole.py', 'whole') == 0, (tmp_path / 'output.txt').read_text()
    assert train('killed.py', 'killed') == -9, (tmp_path / 'output.txt').read_text()
    assert train('whole.py', 'killed', '--resume') == 0, (tmp_path / 'output.txt').read_text()
    whole, resumed = (test_resume.read_losses(tmp_path / name) for name in ('whole', 'killed'))
    assert list(resumed) == list(range(16, 25))
    assert resumed == pytest.approx({step: whole[step] for step in resumed}, rel=1e-2 if device == 'cuda' else 1e-6)
