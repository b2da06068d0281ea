"""The worked examples of docs/own_space.md: a family of one's own, and networks of others, made elastic."""

import json
import random
import re
from pathlib import Path
from typing import Any

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
from mmhybrid.models.backbones.adapter import Adapter, BlockLayers, Stage
from mmhybrid.models.supernets import Supernet
from mmhybrid.registry import MODELS, SEARCH_SPACES

timm = pytest.importorskip('timm')  # behind mmhybrid, without which torchvision may not load

import timm_convnext  # noqa: E402

BACKBONE = {'type': 'mmhybrid.TinyConvNet'}
TIMM = {'type': 'mmhybrid.TimmConvNeXt'}
DOCUMENTS = ('README', 'docs/own_space')


def test_nothing_but_the_example_knows_the_family() -> None:
    """Whatever counts, searches, exports or draws a network finds it by what the example registers."""
    files = [path for folder in ('mmhybrid', 'tools', 'configs') for path in (ROOT / folder).rglob('*.py')]
    assert files
    for path in files:
        assert not re.search('tiny_?convnet|timm_?convnext', path.read_text(), re.IGNORECASE), path


def test_it_is_as_short_as_the_documents_say() -> None:
    said = [re.findall(r'(?:fewer than|under) (\d+) lines', (ROOT / f'{name}.md').read_text()) for name in DOCUMENTS]
    (bound,) = {int(number) for numbers in said for number in numbers}
    assert all(said)
    assert num_lines('tiny_convnet*.py') < bound


def test_an_adapter_is_as_short_as_the_document_says() -> None:
    (bound,) = re.findall(r'in (\d+) lines with its\s+config', (ROOT / 'docs/own_space.md').read_text())
    assert num_lines('timm_convnext*.py') <= int(bound) < 60


def num_lines(pattern: str) -> int:
    """Lines of the examples with something in them."""
    code = [path.read_text() for path in (ROOT / 'examples').glob(pattern)]
    return sum(bool(line.strip()) for text in code for line in text.splitlines())


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


@torch.no_grad()
def test_a_network_of_timm_is_the_largest_subnet(tmp_path: Path) -> None:
    """To the bit, with the weights of a file that timm's own network wrote."""
    torch.manual_seed(0)
    theirs = timm.create_model('convnext_atto').eval()
    for block in theirs.modules():
        if isinstance(getattr(block, 'gamma', None), torch.nn.Parameter):
            block.gamma.normal_()
    torch.save(theirs.state_dict(), tmp_path / 'weights.pth')
    start = {'type': 'mmhybrid.FromNetwork', 'arch': 'convnext-atto', 'checkpoint': str(tmp_path / 'weights.pth')}
    space = {'type': 'mmhybrid.ElasticSpace', 'around': 'convnext-atto'}
    images = torch.rand(1, 3, 64, 96)
    expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    for sort in (False, True):
        supernet = Supernet(space, TIMM, init_cfg={**start, 'sort': sort})
        supernet.init_weights()
        (out,) = supernet.eval()(images)
        assert torch.equal(out, expected) or (sort and (out - expected).norm() < 1e-5 * expected.norm())
        assert supernet.arch == supernet.space.largest()


@pytest.mark.parametrize('seed', range(3))
def test_costs_and_exported_weights_of_a_network_of_timm(seed: int) -> None:
    supernet = Supernet({'type': 'mmhybrid.ElasticSpace', 'around': 'convnext-atto'}, TIMM).eval()
    arch = supernet.space.sample(random.Random(seed))
    config, weights = supernet.export(arch)
    network = MODELS.build(config).eval()
    network.load_state_dict(weights, strict=True)
    assert isinstance(network, timm_convnext.TimmConvNeXt)
    assert type(network.network) is type(timm.create_model('convnext_atto'))
    supernet.set_arch(arch)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images)[0], supernet(images)[0])
    counted = count_complexity(network, (3, 64, 64))
    cost = Estimator(Workload(supernet.space, TIMM, input_size=64))(arch)
    assert (cost.params_m, cost.macs_m) == (counted.params / 1e6, counted.macs / 1e6)


def rows_of_layers() -> list[tuple[str, str, str]]:
    """Of the table of what is elastic in the blocks of timm's networks: a name, the stages and the layers."""
    text = (ROOT / 'docs/own_space.md').read_text()
    return re.findall(r'^\| [^|]* \| `([\w.]+)` \| `(\[.*\])` \| `(BlockLayers\(.*\))` \|$', text, re.MULTILINE)


@pytest.mark.parametrize(('name', 'stages', 'layers'), rows_of_layers(), ids=lambda value: value.split('(')[0])
def test_what_the_document_says_of_other_networks_of_timm(name: str, stages: str, layers: str) -> None:
    """The whole network is timm's to the bit, smaller ones are subnets, and costs are counted."""
    known = {'Stage': Stage, 'BlockLayers': BlockLayers}

    @MODELS.register_module(name='OfTheDocument', force=True)
    class OfTheDocument(Adapter):
        block_layers = eval(layers, known)  # noqa: S307  a document of ours

        def __init__(self, arch: Any = None, init_cfg: Any = None) -> None:
            size = {'img_size': 64} if name.startswith('vit') else {}
            where = eval(stages, known)  # noqa: S307
            super().__init__(timm.create_model(name, num_classes=0, **size), where, arch, init_cfg=init_cfg)

        def compute_outputs(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [self.network.forward_head(self.network.forward_features(x), pre_logits=True)]

    torch.manual_seed(0)
    backbone, images = {'type': 'mmhybrid.OfTheDocument'}, torch.rand(1, 3, 64, 64)
    whole = MODELS.build(backbone).eval()
    with torch.no_grad():
        assert torch.equal(whole(images)[0], timm_output(whole.network, images))
        assert whole.outputs(whole.arch)[-1].width == whole(images)[0].shape[1]
    space = {'type': 'mmhybrid.ElasticSpace', 'around': whole.arch.to_dict()}
    supernet = Supernet(space, backbone).eval()
    workload = Workload(supernet.space, backbone, input_size=64)
    estimate = Estimator(workload)
    assert supernet.space.size() > 100
    for arch in (supernet.space.smallest(), supernet.space.sample(random.Random(0))):
        config, weights = supernet.export(arch)
        network = MODELS.build(config).eval()
        network.load_state_dict(weights, strict=True)
        supernet.set_arch(arch)
        with torch.no_grad():
            assert torch.equal(network(images)[0], supernet(images)[0])
        counted = count_complexity(network, (3, 64, 64))
        assert (estimate(arch).params_m, estimate(arch).macs_m) == (counted.params / 1e6, counted.macs / 1e6)


def test_the_document_has_a_table_of_them() -> None:
    assert {name for name, *_ in rows_of_layers()} >= {
        'resnet18',
        'resnet50',
        'efficientnet_lite0',
        'vit_tiny_patch16_224',
    }


def timm_output(network: Any, images: torch.Tensor) -> torch.Tensor:
    return network.forward_head(network.forward_features(images), pre_logits=True)


@pytest.mark.parametrize(
    ('source', 'type_'),
    [
        ('examples/tiny_convnet_search.py', f'mmhybrid.{tiny_convnet.TinyConvNet.__name__}'),
        ('examples/timm_convnext_search.py', TIMM['type']),
        ('configs/demo/convnext_search.py', 'mmhybrid.ElasticConvNeXt'),
    ],
)
def test_trains_searches_and_exports(source: str, type_: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    torch.save(timm.create_model('convnext_atto').state_dict(), tmp_path / 'convnext_atto.pth')
    start = {'init_cfg': {'checkpoint': str(tmp_path / 'convnext_atto.pth')}} if 'timm' in source else {}
    make_demo_data(tmp_path / 'data', num_train=16, num_val=4, size=64, seed=0)
    (tmp_path / 'search.py').write_text(f"""
_base_ = [{str(ROOT / source)!r}]
model = dict(architecture=dict(backbone={start!r}))
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
    ((name, bound),) = Config.fromfile(config).search_cfg.constraints.items()
    assert best['estimates'][name] <= bound.max

    found = ['--arch', str(tmp_path / 'search/best_arch.json'), '--out-dir', str(tmp_path / 'out')]
    export_subnet.main([config, '--checkpoint', checkpoint, *found])
    paths = [str(tmp_path / f'out/best{end}') for end in ('.py', '.pth')]
    capfd.readouterr()
    test_tool.main([*paths, '--split', 'val', '--work-dir', str(tmp_path / 'test')])
    assert f'accuracy/top1: {best["metrics"]["accuracy/top1"]:.4f}' in ''.join(capfd.readouterr())
    assert Config.fromfile(paths[0]).model.backbone.type == type_
