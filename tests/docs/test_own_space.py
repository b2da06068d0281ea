"""The worked example of docs/own_space.md: a family of one's own, from its description to an exported network."""

import json
import random
import re
from pathlib import Path

import export_subnet
import pytest
import test as test_tool
import tiny_convnet
import torch
from doc_blocks import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.searching import search
from mmhybrid.apis.training import train
from mmhybrid.counting.complexity import count_complexity
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.models.supernets import Supernet
from mmhybrid.registry import MODELS, SEARCH_SPACES

BACKBONE = {'type': 'mmhybrid.TinyConvNet'}
DOCUMENTS = ('README', 'docs/own_space')


def test_nothing_but_the_example_knows_the_family() -> None:
    """Whatever counts, searches, exports or draws a network finds it by what the example registers."""
    files = [path for folder in ('mmhybrid', 'tools', 'configs') for path in (ROOT / folder).rglob('*.py')]
    assert files
    for path in files:
        assert not re.search('tiny_?convnet', path.read_text(), re.IGNORECASE), path


def test_it_is_as_short_as_the_documents_say() -> None:
    said = [re.findall(r'(?:fewer than|under) (\d+) lines', (ROOT / f'{name}.md').read_text()) for name in DOCUMENTS]
    (bound,) = {int(number) for numbers in said for number in numbers}
    assert all(said)
    code = [path.read_text() for path in (ROOT / 'examples').glob('tiny_convnet*.py')]
    assert sum(bool(line.strip()) for text in code for line in text.splitlines()) < bound


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_costs_are_those_of_the_network(seed: int) -> None:
    space = SEARCH_SPACES.build({'type': 'mmhybrid.TinyConvNetSpace'})
    arch = space.sample(random.Random(seed))
    counted = count_complexity(MODELS.build({**BACKBONE, 'arch': space.decode(arch)}), (3, 64, 64))
    cost = Estimator(Workload(space, BACKBONE, input_size=64))(arch)
    assert (cost.params_m, cost.macs_m) == (counted.params / 1e6, counted.macs / 1e6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_a_subnet_computes_what_the_exported_network_computes(seed: int) -> None:
    torch.manual_seed(0)
    supernet = Supernet({'type': 'mmhybrid.TinyConvNetSpace'}, BACKBONE).eval()
    supernet.set_arch(supernet.space.sample(random.Random(seed)))
    config, weights = supernet.export()
    network = MODELS.build(config).eval()
    network.load_state_dict(weights)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        (out,), (expected,) = network(images), supernet(images)
    assert torch.equal(out, expected[:, : out.shape[1]])


def test_layers_are_frozen_in_order() -> None:
    arch = {'embed_dims': [8, 8], 'kernel_sizes': [[3], [3, 5]]}
    network = MODELS.build({**BACKBONE, 'arch': arch, 'frozen_stages': 1})
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith(('stages.1.', 'norm.')) for name in trained)
    depths = [network.get_layer_depth(f'stages.{i}.{j}.weight')[0] for i, j in ((0, 0), (0, 1), (1, 0), (1, 2))]
    assert depths == [0, 1, 2, 4]


def test_trains_searches_and_exports(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    make_demo_data(tmp_path / 'data', num_train=16, num_val=4, size=64, seed=0)
    (tmp_path / 'search.py').write_text(f"""
_base_ = [{str(ROOT / 'examples/tiny_convnet_search.py')!r}]
root = {str(tmp_path / 'data/imagenet')!r}
loader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
train_dataloader = dict(batch_size=12, num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
val_dataloader = loader
test_dataloader = loader
calibration = dict(num_images=4, dataset=dict(data_root=root))
few = dict(evolution=dict(budget=4, population=2))
search_cfg = dict(stages=few, calibration=calibration)
val_cfg = dict(calibration=calibration)
train_cfg = dict(max_epochs=1)
default_hooks = dict(checkpoint=dict(interval=1))
""")
    config = str(tmp_path / 'search.py')
    train(load_config(config, work_dir=str(tmp_path / 'train')))
    checkpoint = (tmp_path / 'train/last_checkpoint').read_text()
    search(load_config(config, work_dir=str(tmp_path / 'search')), checkpoint)
    best = json.loads((tmp_path / 'search/best_arch.json').read_text())
    assert best['estimates']['macs_m'] <= Config.fromfile(config).search_cfg.constraints.macs_m.max

    found = ['--arch', str(tmp_path / 'search/best_arch.json'), '--out-dir', str(tmp_path / 'out')]
    export_subnet.main([config, '--checkpoint', checkpoint, *found])
    paths = [str(tmp_path / f'out/best{end}') for end in ('.py', '.pth')]
    capfd.readouterr()
    test_tool.main([*paths, '--split', 'val', '--work-dir', str(tmp_path / 'test')])
    assert f'accuracy/top1: {best["metrics"]["accuracy/top1"]:.4f}' in ''.join(capfd.readouterr())
    assert Config.fromfile(paths[0]).model.backbone.type == f'mmhybrid.{tiny_convnet.TinyConvNet.__name__}'
