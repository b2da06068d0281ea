"""An exported network computes what the model computes."""

import runpy
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as HOST_MODELS

from mmhybrid.apis import export
from mmhybrid.apis.export import ENDINGS, Precision, export_model
from mmhybrid.apis.export_metadata import precision_told, write_metadata
from mmhybrid.models.backbones.autovit import AutoViT, channels_of
from mmhybrid.registry import MODELS
from mmhybrid.torch_api import EXPORTING, EXPORTING_SIZES, TORCH
from mmhybrid.utils import optional

ARCH = {
    'stem_width': 8,
    'conv_widths': [8, 8, 16],
    'conv_depths': [1, 1, 1],
    'embed_dims': [16, 16, 32],
    'depths': [1, 1, 1],
    'num_heads': [1, 2, 1],
    'mlp_ratios': [1.5, 2, 2],
}
SHAPE = (1, 3, 64, 64)
TOOL = Path(__file__).parents[2] / 'tools/export.py'


class Logits(torch.nn.Module):
    """A backbone and a classifier."""

    def __init__(self):
        super().__init__()
        self.backbone = AutoViT(ARCH)
        self.head = torch.nn.Linear(6 * 16, 5)

    def forward(self, x):
        """Images -> logits."""
        return self.head(self.backbone(x)[-1].mean((2, 3)))


def make_network():
    torch.manual_seed(0)
    return Logits().eval()


@pytest.fixture
def network():
    return make_network()


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """The file of that network in a format, in float32 and in a folder of its own."""

    @cache
    def write(file_format):
        path = tmp_path_factory.mktemp(file_format) / f'network{ENDINGS.get(file_format, ".file")}'
        export_model(make_network(), SHAPE, path, file_format)
        return path

    return write


def run_onnx(path, images):
    runtime = pytest.importorskip('onnxruntime')
    session = runtime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return torch.from_numpy(session.run(None, {'images': images.numpy()})[0])


RUN = {
    'onnx': run_onnx,
    'torchscript': lambda path, images: torch.jit.load(str(path))(images),
    'exported': lambda path, images: torch.export.load(path).module()(images),
}


NEEDS_EXPORT = pytest.mark.torch_since(*EXPORTING)


@pytest.mark.parametrize(
    'file_format', [pytest.param(name, marks=() if name == 'torchscript' else NEEDS_EXPORT) for name in RUN]
)
def test_same_output(network, written, file_format):
    path, images = written(file_format), torch.rand(SHAPE)
    with torch.no_grad():
        expected = network(images)
        torch.testing.assert_close(RUN[file_format](path, images), expected, rtol=1e-3, atol=1e-4)
    assert [file.name for file in path.parent.iterdir()] == ['network.file']


@NEEDS_EXPORT
def test_missing_package_is_named(network, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(optional, 'import_module', missing)
    with pytest.raises(ValueError, match=r'format coreml needs the package coremltools: pip install .mmhybrid.export'):
        export_model(network, SHAPE, tmp_path / 'network.mlpackage', 'coreml')
    assert list(tmp_path.iterdir()) == []


@NEEDS_EXPORT
@pytest.mark.parametrize(
    ('backbone', 'shape'),
    [
        ({'type': 'mmhybrid.AutoViT', 'arch': ARCH}, SHAPE),
        # a map of odd size is resized
        pytest.param({'type': 'mmhybrid.AutoViT', 'arch': ARCH}, (1, 3, 96, 96), marks=pytest.mark.slow),
        pytest.param({'type': 'mmhybrid.GLiT', 'arch': 'tiny', 'img_size': 64}, SHAPE, marks=pytest.mark.slow),
        pytest.param({'type': 'mmhybrid.GLNet', 'arch': 'stl'}, SHAPE, marks=pytest.mark.slow),
    ],
)
def test_coreml_of_every_family(backbone, shape, tmp_path):
    tools = pytest.importorskip('coremltools')  # not for every system that torch is for

    class Last(torch.nn.Module):
        """The last output."""

        def __init__(self):
            super().__init__()
            self.backbone = MODELS.build(backbone)

        def forward(self, x):
            """Images -> a map, or a token."""
            return self.backbone(x)[-1]

    path = tmp_path / 'network.mlpackage'
    (path / 'Data').mkdir(parents=True)
    for name in ('Manifest.json', 'Data/model'):  # of an export before, which is replaced
        (path / name).touch()
    export_model(Last(), shape, path, 'coreml')
    assert not (path / 'Data/model').exists()
    (given,) = tools.utils.load_spec(str(path)).description.input
    assert given.name == 'images'
    assert tuple(given.type.multiArrayType.shape) == shape
    assert [file.name for file in tmp_path.iterdir()] == ['network.mlpackage']


@NEEDS_EXPORT
def test_folder_is_replaced_only_if_an_export_wrote_it(network, tmp_path, monkeypatch):
    def write(network, images, path, dynamic, precision):
        path.mkdir()
        (path / 'Manifest.json').write_text('new')

    monkeypatch.setitem(export.FORMATS, 'coreml', write)
    package, other = tmp_path / 'network.mlpackage', tmp_path / 'other.mlpackage'
    package.mkdir()
    (package / 'Manifest.json').write_text('old')
    export_model(network, SHAPE, package, 'coreml')
    assert (package / 'Manifest.json').read_text() == 'new'
    other.mkdir()
    (other / 'photo.jpg').write_text('mine')
    for file_format in ('coreml', 'torchscript'):
        with pytest.raises(ValueError, match='a folder, which an export does not replace'):
            export_model(network, SHAPE, other, file_format)
    assert sorted(file.name for file in tmp_path.iterdir()) == ['network.mlpackage', 'other.mlpackage']


@NEEDS_EXPORT
@pytest.mark.parametrize(
    ('shape', 'name', 'file_format', 'word'),
    [
        (SHAPE, 'a.onnx', 'gif', 'format'),
        ((3, 64, 64), 'a.onnx', 'onnx', 'input_shape'),
        (SHAPE, 'a.onnx', 'coreml', 'ending in .mlpackage'),
        (SHAPE, 'none/a.onnx', 'onnx', 'folder'),
    ],
)
def test_wrong_arguments(network, tmp_path, shape, name, file_format, word):
    with pytest.raises(ValueError, match=word):
        export_model(network, shape, tmp_path / name, file_format)


@NEEDS_EXPORT
def test_tool(tmp_path, capsys):
    """The file gives the logits of the config's model with the checkpoint's weights."""
    config = tmp_path / 'config.py'
    config.write_text(f"""
model = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmhybrid.AutoViT', arch={ARCH!r}),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=5, in_channels=96),
)
default_scope = 'mmpretrain'
""")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HOST_MODELS.build(Config.fromfile(config).model).eval()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'weights.pth')
    out, images = tmp_path / 'network.pt2', torch.rand(SHAPE)
    main = runpy.run_path(str(TOOL))['main']
    arguments = ['--out', str(out), '--format', 'exported', '--shape', '64', '64']
    main([str(config), *arguments, '--checkpoint', str(tmp_path / 'weights.pth')])
    with torch.no_grad():
        expected = model(images, mode='tensor')
    found = torch.export.load(out).module()(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not any('running_mean' in name for name in torch.export.load(out).state_dict)
    main([str(config), *arguments, '--as-trained', '--checkpoint', str(tmp_path / 'weights.pth')])
    assert any('running_mean' in name for name in torch.export.load(out).state_dict)
    with pytest.raises(SystemExit):
        main([str(config), *arguments[:-2], '0', '64'])
    assert 'input_shape' in capsys.readouterr().err


class Last(torch.nn.Module):
    """The last output of a backbone."""

    def __init__(self, config):
        super().__init__()
        self.backbone = MODELS.build(config)

    def forward(self, images):
        """Images -> a map, or a token."""
        return self.backbone(images)[-1]


GLNET = {
    'type': 'mmhybrid.GLNet',
    'arch': {
        'embed_dims': [32] * 4,
        'depths': [1] * 4,
        'ffn_ratios': [1] * 4,
        'mixers': ['glmix', 'window-global', 'local', 'mhsa'],
        'num_slots': [16] * 4,
        'local_kernels': [3] * 4,
    },
}
GLIT = {
    'type': 'mmhybrid.GLiT',
    'img_size': 64,
    'arch': {
        'embed_dims': 32,
        'num_heads': 2,
        'blocks': [
            {'num_attn_heads': 2, 'mlp_ratio': 2, 'qkv_ratio': 1},
            {'num_attn_heads': 1, 'mlp_ratio': 2, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 5},
        ],
    },
}
AUTOVIT = {'type': 'mmhybrid.AutoViT', 'arch': ARCH}
SHAPES = {
    'batch': [(1, 3, 64, 96), (5, 3, 64, 96)],
    'size': [(1, 3, 96, 64), (1, 3, 224, 160)],
    'both': [(1, 3, 96, 64), (3, 3, 224, 160)],
}


@NEEDS_EXPORT
@pytest.mark.parametrize(
    ('backbone', 'dynamic'),
    [
        (AUTOVIT, 'batch'),
        (GLNET, 'batch'),
        (GLIT, 'batch'),
        *(
            pytest.param(family, dynamic, marks=[pytest.mark.slow, pytest.mark.torch_since(*EXPORTING_SIZES)])
            for family, dynamic in [(GLNET, 'size'), (AUTOVIT, 'both'), (GLNET, 'both'), (GLIT, 'both')]
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value['type'],
)
def test_onnx_at_other_shapes(backbone, dynamic, tmp_path):
    torch.manual_seed(0)
    network, path = Last(backbone).eval(), tmp_path / 'network.onnx'
    export_model(network, (1, 3, 64, 96), path, 'onnx', dynamic)
    for shape in SHAPES[dynamic]:
        images = torch.rand(shape)
        with torch.no_grad():
            torch.testing.assert_close(run_onnx(path, images), network(images), rtol=1e-3, atol=1e-4)


class LastStage(torch.nn.Module):
    """AutoViT's last stage on patches of 16 pixels: of images in strides of 32, it alone may have odd maps."""

    def __init__(self):
        super().__init__()
        self.backbone = AutoViT(ARCH)
        self.patches = torch.nn.Conv2d(3, channels_of(ARCH['embed_dims'][-2]), 16, 16)

    def forward(self, images):
        """Images -> a map."""
        return self.backbone.transformer_stages[-1](self.patches(images), self.backbone.run_block)


@pytest.mark.torch_since(*EXPORTING_SIZES)
def test_a_file_made_at_even_maps_takes_odd_ones(tmp_path):
    """AutoViT resizes odd maps alone, which files did not, of networks that had none at the size of the export."""
    torch.manual_seed(0)
    network, path = LastStage().eval(), tmp_path / 'network.pt2'
    export_model(network, (1, 3, 128, 128), path, 'exported', 'size')
    program = torch.export.load(path).module()
    for height, width in ((128, 128), (96, 128), (160, 224)):
        images = torch.rand(1, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(program(images), network(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('shape', [(2, 3, 64, 96), (1, 3, 100, 65)])
@pytest.mark.parametrize('backbone', [GLNET, GLIT, AUTOVIT], ids=lambda value: value['type'])
def test_legacy_exporter_takes_every_family(backbone, shape, tmp_path):
    """The exporter that MMDeploy uses.

    Adaptive pooling would need sides that are multiples of the slots, and its integers divide towards zero.
    """
    torch.manual_seed(0)
    network, path = Last(backbone).eval(), tmp_path / 'network.onnx'
    images = torch.rand(shape)
    legacy = {'dynamo': False} if TORCH >= (2, 5) else {}  # the only one before
    with torch.no_grad():
        torch.onnx.export(network, (images,), str(path), input_names=['images'], opset_version=17, **legacy)
        torch.testing.assert_close(run_onnx(path, images), network(images), rtol=1e-3, atol=1e-4)


@NEEDS_EXPORT
def test_open_shapes_need_a_format_that_has_them(network, tmp_path):
    with pytest.raises(ValueError, match='nothing for the format torchscript; onnx and exported take it'):
        export_model(network, SHAPE, tmp_path / 'a.pt', 'torchscript', 'both')
    with pytest.raises(ValueError, match='dynamic'):
        export_model(network, SHAPE, tmp_path / 'a.onnx', 'onnx', 'everything')


@NEEDS_EXPORT
def test_network_that_cannot_leave_a_size_open(tmp_path):
    class Fixed(torch.nn.Module):
        """Knows one size."""

        def forward(self, images):
            """Images of one size."""
            return images + torch.zeros(1, 3, 64, 64)

    with pytest.raises(ValueError, match='dynamic: this network cannot leave size open'):
        export_model(Fixed(), SHAPE, tmp_path / 'a.pt2', 'exported', 'size')
    assert list(tmp_path.iterdir()) == []


@NEEDS_EXPORT
def test_two_stage_detectors_end_with_a_sentence(tmp_path):
    class TwoStages(torch.nn.Module):
        """As MMDetection's, by what tells them."""

        roi_head = None

    with pytest.raises(ValueError, match='TwoStages is a two-stage detector'):
        export_model(TwoStages(), SHAPE, tmp_path / 'a.onnx', 'onnx')


@pytest.mark.dense
def test_detectors_of_the_demo(tmp_path):
    pytest.importorskip('mmdet')
    from mmengine.registry import init_default_scope

    configs = Path(__file__).parents[2] / 'configs/demo'
    init_default_scope('mmdet')
    model = HOST_MODELS.build(Config.fromfile(configs / 'glnet_det.py').model)
    with pytest.raises(ValueError, match='MaskRCNN is a two-stage detector'):
        export_model(model, SHAPE, tmp_path / 'a.pt', 'torchscript')


@NEEDS_EXPORT
@pytest.mark.parametrize(
    ('backbone', 'channels'),
    [(AUTOVIT, 1), (GLNET, 4), (GLIT, 12)],
    ids=lambda value: value if isinstance(value, int) else value['type'],
)
def test_tool_takes_the_channels_of_the_model(backbone, channels, tmp_path, capsys):
    config, out = tmp_path / 'config.py', tmp_path / 'network.pt2'
    backbone = {**backbone, 'in_channels': channels}
    config.write_text(f"""
model = dict(type='mmpretrain.ImageClassifier', backbone={backbone!r})
default_scope = 'mmpretrain'
""")
    runpy.run_path(str(TOOL))['main']([str(config), '--out', str(out), '--format', 'exported', '--shape', '64', '64'])
    assert torch.export.load(out).module()(torch.rand(1, channels, 64, 64))
    complexity = runpy.run_path(str(TOOL.with_name('get_complexity.py')))['main']
    complexity([str(config), '--shape', '64', '64'])
    assert 'total' in capsys.readouterr().out


@NEEDS_EXPORT
def test_float16_has_half_the_bytes_and_nearly_the_outputs(network, written, tmp_path):
    pytest.importorskip('onnxruntime')
    images, sizes, found = torch.rand(SHAPE), {}, {}
    export_model(network, SHAPE, tmp_path / 'network.onnx', 'onnx', precision=Precision('float16'))
    for dtype, path in (('float32', written('onnx')), ('float16', tmp_path / 'network.onnx')):
        weights = onnx_weights(path)
        sizes[dtype], found[dtype] = sum(weight.nbytes for weight in weights), run_onnx(path, images)
    assert sizes['float16'] == pytest.approx(sizes['float32'] / 2, rel=0.05)
    error = (found['float16'] - found['float32']).norm() / found['float32'].norm()
    assert 0 < error < 0.02
    assert found['float16'].dtype == torch.float32
    assert next(network.parameters()).dtype == torch.float32


def onnx_weights(path):
    onnx = pytest.importorskip('onnx')
    tensors = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    return [tensor for tensor in tensors if tensor.dtype.kind == 'f']


@NEEDS_EXPORT
def test_int8_of_several_images_at_once(network, tmp_path):
    """Those of the last, smaller batch are left out; fewer than a batch cannot be taken."""
    pytest.importorskip('onnxruntime')
    path, images = tmp_path / 'network.onnx', torch.rand(5, *SHAPE[1:])
    export_model(network, (2, *SHAPE[1:]), path, 'onnx', precision=Precision('int8', images))
    with torch.no_grad():
        expected = network(images[:2])
    assert 0 < (run_onnx(path, images[:2]) - expected).norm() / expected.norm() < 0.05
    with pytest.raises(ValueError, match='calibration images: got 1, allowed: at least 2, a batch of the file'):
        export_model(network, (2, *SHAPE[1:]), path, 'onnx', precision=Precision('int8', images[:1]))
    open_batch = tmp_path / 'open.onnx'
    export_model(network, SHAPE, open_batch, 'onnx', 'batch', Precision('int8', images))
    torch.testing.assert_close(run_onnx(open_batch, images)[:2], run_onnx(path, images[:2]), rtol=0.2, atol=0.02)


def test_precisions_that_are_none(network, tmp_path):
    with pytest.raises(ValueError, match="dtype: got 'int4', allowed: one of"):
        Precision('int4')
    for wrong in (('int8', None), ('float16', torch.rand(SHAPE))):
        with pytest.raises(ValueError, match='calibration images are for int8, which needs some'):
            Precision(*wrong)
    for file_format in ('coreml', 'torchscript', 'exported', 'executorch'):
        with pytest.raises(ValueError, match=r"dtype: got 'float16', allowed: float32 for the format \w+; onnx and"):
            export_model(network, SHAPE, tmp_path / 'file', file_format, precision=Precision('float16'))


@NEEDS_EXPORT
@pytest.mark.parametrize('dtype', ['float16', 'int8'])
def test_other_precisions_of_openvino(dtype, network, written, tmp_path):
    """Its weights are as small as told, also behind the metadata, which are written into the file afterwards."""
    pytest.importorskip('onnxruntime')
    openvino = pytest.importorskip('openvino')
    from mmhybrid.utils.openvino_core import openvino_core

    images = torch.rand(3, *SHAPE[1:])
    precision = Precision(dtype, images if dtype == 'int8' else None)
    export_model(network, SHAPE, tmp_path / f'{dtype}.xml', 'openvino', precision=precision)
    write_metadata(tmp_path / f'{dtype}.xml', 'openvino', precision_told(precision))
    whole, small = (
        path.with_suffix('.bin').stat().st_size for path in (written('openvino'), tmp_path / f'{dtype}.xml')
    )
    assert small < 0.6 * whole
    core = openvino_core('this test')
    model = core.read_model(tmp_path / f'{dtype}.xml')
    assert model.get_rt_info(['mmhybrid', 'dtype']).value == dtype
    assert isinstance(model, openvino.Model)
    found = core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})({0: images[:1].numpy()})[0]
    with torch.no_grad():
        expected = network(images[:1])
    assert 0 < (torch.from_numpy(found) - expected).norm() / expected.norm() < 0.05
