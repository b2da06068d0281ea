"""A file from photographs to boxes or classes gives what the hosts' own inference gives."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from demo_models import SEMANTIC_FPN, SIZES, build, inferred, with_multiple, write_photographs
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmhybrid.apis.end_to_end import check_end_to_end, export_end_to_end
from mmhybrid.apis.export import export_model
from mmhybrid.apis.onnx_steps import Nodes, before_network
from mmhybrid.apis.preprocessing import Preprocessing
from mmhybrid.apis.runtimes import open_network
from mmhybrid.commands import run_onnx
from mmhybrid.commands.export import main as export_tool
from mmhybrid.torch_api import EXPORTING, EXPORTING_SIZES

pytestmark = [pytest.mark.dense, pytest.mark.torch_since(*EXPORTING)]


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Smooth pictures of several sizes."""
    return write_photographs(tmp_path_factory.mktemp('data') / 'photographs')


def rgb(path):
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def run(path, image):
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {'image': image}), strict=True))


def preprocessed(rule, image):
    """What a file's preprocessing alone makes of an image."""
    onnx, onnxruntime = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    nodes = Nodes(onnx, 'before_')
    images, size, content = before_network(nodes, rule)
    tell = onnx.helper.make_tensor_value_info
    outputs = [tell(images, 1, [1, 3, None, None]), tell(size, 7, [2]), tell(content, 7, [2])]
    graph = onnx.helper.make_graph(nodes.nodes, 'before', [tell('image', 2, ['h', 'w', 3])], outputs, nodes.constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {'image': image})


NORM = {'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}
DET = {'type': 'DetDataPreprocessor', **NORM, 'bgr_to_rgb': True, 'pad_size_divisor': 32}
RTM = {'type': 'DetDataPreprocessor', **NORM, 'bgr_to_rgb': False}
SEG = {'type': 'SegDataPreProcessor', **NORM, 'bgr_to_rgb': True}


@pytest.mark.parametrize(
    ('scope', 'preprocessor', 'transforms', 'shape', 'is_open'),
    [
        ('mmdet', DET, [{'type': 'Resize', 'scale': (160, 160), 'keep_ratio': True}], None, True),
        ('mmdet', DET, [{'type': 'Resize', 'scale': (333, 101), 'keep_ratio': True}], None, True),
        ('mmdet', DET, [{'type': 'Resize', 'scale': (96, 64), 'keep_ratio': False}], (64, 96), False),
        (
            'mmdet',
            RTM,
            [
                {'type': 'Resize', 'scale': (192, 192), 'keep_ratio': True},
                {'type': 'Pad', 'size': (192, 192), 'pad_val': {'img': (1, 2, 114)}},
            ],
            None,
            False,
        ),
        (
            'mmseg',
            SEG,
            [
                {'type': 'Resize', 'scale': (2048, 64), 'keep_ratio': True},
                {'type': 'ResizeToMultiple', 'size_divisor': 32},
            ],
            None,
            True,
        ),
    ],
)
def test_preprocessing_is_the_hosts(scope, preprocessor, transforms, shape, is_open, photographs):
    """To the last bit: OpenCV's resizing among it."""
    __import__(f'{scope}.models')
    __import__(f'{scope}.datasets')
    init_default_scope(scope)
    pack = (
        {'type': 'PackDetInputs', 'meta_keys': ()} if scope == 'mmdet' else {'type': 'PackSegInputs', 'meta_keys': ()}
    )
    pipeline = [{'type': 'LoadImageFromFile'}, *transforms, pack]
    cfg = Config(
        {
            'model': {'data_preprocessor': preprocessor},
            'test_dataloader': {'dataset': {'pipeline': pipeline}},
        }
    )
    rule = Preprocessing.of_config(cfg, shape, is_open)
    compose, host = Compose(pipeline), MODELS.build(preprocessor)
    for path in photographs:
        data = compose({'img_path': str(path), 'img_id': 0})
        expected = host({'inputs': [data['inputs']], 'data_samples': [data['data_samples']]})['inputs']
        images, size, _ = preprocessed(rule, rgb(path))
        np.testing.assert_allclose(images, expected.numpy(), rtol=0, atol=1e-6)
        assert tuple(size) == rgb(path).shape[:2]


def test_images_fit_on_the_canvas(photographs):
    cfg = Config({'model': {'data_preprocessor': DET}, 'test_dataloader': {'dataset': {'pipeline': []}}})
    rule = Preprocessing.of_config(cfg, (100, 150))
    for path in photographs:
        image = rgb(path)
        images, _, content = preprocessed(rule, image)
        assert images.shape == (1, 3, 100, 150)
        factor = min(1, 100 / image.shape[0], 150 / image.shape[1])  # never enlarged, where the config enlarges nothing
        assert tuple(content) == tuple(int(side * factor + 0.5) for side in image.shape[:2])
        assert not images[:, :, content[0] :].any()
        assert not images[:, :, :, content[1] :].any()


def check_boxes(model, file, paths):
    for path in paths:
        expected, found = inferred(model, path).pred_instances, run(file, rgb(path))
        assert len(expected) > 10
        assert len(expected) == len(found['scores'])
        assert (np.diff(found['scores']) <= 0).all()
        # boxes of nearly one score may come in another order
        boxes = np.abs(expected.bboxes.numpy()[:, None] - found['boxes']).max(2)
        scores = np.abs(expected.scores.numpy()[:, None] - found['scores'])
        is_same = (boxes < 0.05) & (scores < 1e-4) & (expected.labels.numpy()[:, None] == found['labels'])
        assert is_same.any(0).all()
        assert is_same.any(1).all()


RTMDET = {
    '_delete_': True,
    'type': 'RTMDetSepBNHead',
    'num_classes': 8,
    'in_channels': 64,
    'stacked_convs': 1,
    'feat_channels': 64,
    'anchor_generator': {'type': 'MlvlPointGenerator', 'offset': 0, 'strides': [4, 8, 16, 32, 64]},
    'bbox_coder': {'type': 'DistancePointBBoxCoder'},
    'loss_cls': {'type': 'QualityFocalLoss', 'use_sigmoid': True, 'beta': 2.0, 'loss_weight': 1.0},
    'loss_bbox': {'type': 'GIoULoss', 'loss_weight': 2.0},
    'with_objectness': False,
    'exp_on_reg': True,
    'share_conv': True,
    'pred_kernel_size': 1,
    'norm_cfg': {'type': 'BN'},
}


def test_a_file_finds_the_boxes_that_the_host_finds(photographs, tmp_path, capsys):
    """RetinaNet of one layer, a square canvas; and what shows them, which needs neither torch nor mmhybrid."""
    cfg, model = build('glnet_retinanet', {'model.bbox_head.stacked_convs': 1})
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'weights.pth')
    config, file = tmp_path / 'config.py', tmp_path / 'detector.onnx'
    cfg.dump(config)
    arguments = ['--checkpoint', str(tmp_path / 'weights.pth'), '--format', 'onnx', '--end-to-end']
    export_tool([str(config), '--out', str(file), *arguments])
    assert 'images of 160 x 160' in capsys.readouterr().out
    square = photographs[0]  # the others are not padded as far by MMDetection
    check_boxes(model, file, [square])

    onnx = pytest.importorskip('onnx')
    told = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(told['classes']) == list(cfg.classes)
    assert told['resolution'] == '160 x 160'
    picture, highest = tmp_path / 'picture.png', float(run(file, rgb(square))['scores'][3])
    program = (
        'import runpy, sys; runpy.run_path(sys.argv[1])["main"](sys.argv[2:]); '
        'assert not {"torch", "mmengine", "mmhybrid", "cv2"} & set(sys.modules)'
    )
    words = [str(file), str(square), '--out', str(picture), '--score', str(highest - 1e-6)]
    shown = subprocess.run(
        [sys.executable, '-c', program, run_onnx.__file__, *words], capture_output=True, text=True, check=True
    )
    lines = shown.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.split()[0] in cfg.classes for line in lines)
    assert cv2.imread(str(picture)).shape == (*SIZES[0], 3)
    with pytest.raises(SystemExit, match=r'nothing\.jpg'):
        run_onnx.main([str(file), 'nothing.jpg', '--out', str(picture)])


@pytest.mark.slow
@pytest.mark.parametrize('family', ['glnet', 'autovit', 'glit'])
def test_boxes_at_any_size(family, photographs, tmp_path):
    cfg, model = build(f'{family}_retinanet')
    export_end_to_end(model, Preprocessing.of_config(cfg, None, is_open=True), tmp_path / 'a.onnx')
    check_boxes(model, tmp_path / 'a.onnx', photographs)


@pytest.mark.slow
def test_rtmdet(photographs, tmp_path):
    """On a border of its own, in BGR."""
    test_cfg = {'nms_pre': 3000, 'min_bbox_size': 0, 'score_thr': 0.05, 'max_per_img': 50}
    changes = {
        'model.bbox_head': RTMDET,
        'model.test_cfg': {'_delete_': True, **test_cfg, 'nms': {'type': 'nms', 'iou_threshold': 0.65}},
        'model.data_preprocessor.bgr_to_rgb': False,
        'model.type': 'RTMDet',
    }
    cfg, model = build('autovit_retinanet', changes)
    pipeline = cfg.test_dataloader.dataset.pipeline
    pad = {'type': 'Pad', 'size': (160, 160), 'pad_val': {'img': (114, 114, 114)}}
    cfg.test_dataloader.dataset.pipeline = [*pipeline[:2], pad, *pipeline[2:]]
    model.cfg = cfg
    export_end_to_end(model, Preprocessing.of_config(cfg, None), tmp_path / 'a.onnx')
    check_boxes(model, tmp_path / 'a.onnx', photographs)


def check_classes(model, file, paths):
    for path in paths:
        expected = inferred(model, path).pred_sem_seg.data[0].numpy()
        found = run(file, rgb(path))['segmentation']
        assert found.shape == expected.shape
        assert len(np.unique(expected)) > 2
        assert (found == expected).mean() > 0.999


@pytest.mark.slow
def test_upernet(photographs, tmp_path):
    cfg, model = build('glit_seg')
    export_end_to_end(model, Preprocessing.of_config(cfg, (128, 128)), tmp_path / 'a.onnx')
    check_classes(model, tmp_path / 'a.onnx', photographs[:1])
    with pytest.raises(ValueError, match=r'decode_head.psp_modules.1.0 averages over 2 regions'):
        export_end_to_end(model, Preprocessing.of_config(cfg, None, is_open=True), tmp_path / 'b.onnx')
    assert not (tmp_path / 'b.onnx').exists()


@pytest.mark.slow
def test_semantic_fpn_at_any_size(photographs, tmp_path):
    cfg, model = build('glnet_seg', SEMANTIC_FPN)
    cfg = with_multiple(cfg, model)
    export_end_to_end(model, Preprocessing.of_config(cfg, None, is_open=True), tmp_path / 'a.onnx')
    check_classes(model, tmp_path / 'a.onnx', photographs)


class Model(nn.Module):
    """Has what is given."""

    def __init__(self, **parts):
        super().__init__()
        self.__dict__.update(parts)


@pytest.mark.parametrize(
    ('parts', 'word'),
    [
        ({'roi_head': None}, 'Model is a two-stage detector'),
        ({'head': None}, 'neither a detector nor a segmentor'),
        ({'bbox_head': nn.Identity()}, 'Identity decodes boxes in a way of its own'),
        (
            {'decode_head': None, 'test_cfg': Config({'mode': 'slide'})},
            r"model.test_cfg.mode: got 'slide', allowed: 'whole'",
        ),
    ],
)
def test_other_models_end_with_a_sentence(parts, word):
    with pytest.raises(ValueError, match=word):
        check_end_to_end(Model(**parts))


def test_other_suppression_ends_with_a_sentence():
    _, model = build('glnet_retinanet', {'model.test_cfg.nms.type': 'soft_nms'})
    with pytest.raises(ValueError, match=r"test_cfg.nms.type: got 'soft_nms', allowed: 'nms'"):
        check_end_to_end(model)


def with_pipeline(*transforms):
    return Config(
        {'model': {}, 'test_dataloader': {'dataset': {'pipeline': [{'type': 'LoadImageFromFile'}, *transforms]}}}
    )


@pytest.mark.parametrize(
    ('transforms', 'shape', 'is_open', 'word'),
    [
        ([{'type': 'CenterCrop', 'crop_size': 3}], None, False, r"test pipeline: got 'CenterCrop', allowed: each of"),
        ([{'type': 'Resize', 'scale_factor': 2}], None, False, 'Resize without a scale'),
        ([], None, False, '--shape: the config does not say the size of the images'),
        ([{'type': 'Resize', 'scale': (96, 64)}], (64, 64), False, r"--shape: got '64 64', allowed: at least 64 96"),
        ([{'type': 'ResizeToMultiple'}], (64, 70), False, 'multiples of 32'),
        ([{'type': 'Pad', 'size': (64, 32)}], (64, 64), False, 'allowed: 32 64, to which the test pipeline pads'),
        ([{'type': 'Pad', 'size': (64, 32)}], None, True, '--dynamic: the test pipeline pads images to one size'),
    ],
)
def test_pipelines_that_a_file_has_no_part_for(transforms, shape, is_open, word):
    with pytest.raises(ValueError, match=word):
        Preprocessing.of_config(with_pipeline(*transforms), shape, is_open)


class TinyDetector(nn.Module):
    """RetinaHead on one convolution, for files that take no time."""

    def __init__(self):
        super().__init__()
        scales = {'octave_base_scale': 2, 'scales_per_octave': 2, 'ratios': [0.5, 1.0], 'strides': [16]}
        nms = {'type': 'nms', 'iou_threshold': 0.5}
        test_cfg = {'nms_pre': 100, 'min_bbox_size': 0, 'score_thr': 0.05, 'max_per_img': 30, 'nms': nms}
        head = {'type': 'RetinaHead', 'num_classes': 3, 'in_channels': 8, 'stacked_convs': 0, 'feat_channels': 8}
        anchors = {'type': 'AnchorGenerator', **scales}
        self.convolution = nn.Conv2d(3, 8, 16, 16)
        self.bbox_head = MODELS.build(Config({**head, 'anchor_generator': anchors, 'test_cfg': test_cfg}))

    def extract_feat(self, images):
        """One map."""
        return [self.convolution(images)]


class TinySegmentor(nn.Module):
    """One convolution, whose maps are made as large as the images."""

    def __init__(self):
        super().__init__()
        self.decode_head, self.align_corners = nn.Conv2d(3, 5, 8, 8), False
        self.test_cfg = {'mode': 'whole'}

    def encode_decode(self, images, _about):
        """A map for each class."""
        return nn.functional.interpolate(self.decode_head(images), images.shape[-2:], mode='bilinear')


@pytest.mark.parametrize('is_open', [False, pytest.param(True, marks=pytest.mark.torch_since(*EXPORTING_SIZES))])
@pytest.mark.parametrize('kind', [TinyDetector, TinySegmentor])
def test_openvino_finds_what_onnx_runtime_finds(kind, is_open, photographs, tmp_path):
    """It has no doubles, and divided the wrong way round where a number was divided by the largest of some."""
    pytest.importorskip('openvino')
    __import__('mmdet.models')
    init_default_scope('mmdet')
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().eval()
        for weight in model.parameters():
            weight.data.normal_(std=(2 / weight[0].numel()) ** 0.5) if weight.dim() > 1 else weight.data.zero_()
    cfg = with_pipeline({'type': 'Resize', 'scale': (192, 160), 'keep_ratio': True})
    cfg.model.data_preprocessor = DET
    export_end_to_end(model, Preprocessing.of_config(cfg, None, is_open), tmp_path / 'a.onnx')
    files = (tmp_path / 'a.onnx', convert_to_openvino(tmp_path / 'a.onnx'))
    networks = [open_network(file, 'openvino') for file in files]
    for path in photographs:
        expected = run(tmp_path / 'a.onnx', rgb(path))
        for network in networks:
            found = network.run(rgb(path))
            assert found.keys() == expected.keys()
            if kind is TinySegmentor:
                assert len(np.unique(expected['segmentation'])) > 2
                assert found['segmentation'].shape == expected['segmentation'].shape
                assert (found['segmentation'] == expected['segmentation']).mean() > 0.999
                continue
            assert len(expected['scores']) == len(found['scores']) > 10
            np.testing.assert_allclose(found['scores'], expected['scores'], atol=2e-3)
            is_same = np.abs(expected['boxes'][:, None] - found['boxes']).max(2) < 0.1
            is_same &= expected['labels'][:, None] == found['labels']
            assert is_same.any(0).all()
            assert is_same.any(1).all()


def convert_to_openvino(file):
    """As OpenVINO's own tool does."""
    openvino = pytest.importorskip('openvino')
    openvino.save_model(openvino.Core().read_model(file), file.with_suffix('.xml'), compress_to_fp16=False)
    return file.with_suffix('.xml')


def test_pooling_keeps_the_regions_of_one_size(tmp_path):
    """Files that torch writes with it fail at another size, when they run."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2))
    with pytest.raises(ValueError, match='dynamic: 1 averages over 2 regions'):
        export_model(network, (1, 3, 64, 64), tmp_path / 'a.onnx', 'onnx', 'size')


def test_upsampling_goes_with_the_size(tmp_path):
    """FPNHead's, of whose sizes torch's exporter makes constants."""
    from mmseg.models.utils import Upsample

    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 4, stride=4), Upsample(scale_factor=2, mode='bilinear', align_corners=False)
    network, images = nn.Sequential(*layers).eval(), torch.rand(1, 3, 128, 96)
    export_model(network, (1, 3, 64, 96), tmp_path / 'a.onnx', 'onnx', 'size')
    assert 'forward' not in vars(network[1])
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(str(tmp_path / 'a.onnx'), providers=['CPUExecutionProvider'])
    with torch.no_grad():
        expected = network(images).numpy()
    np.testing.assert_allclose(session.run(None, {'images': images.numpy()})[0], expected, atol=1e-5)


def test_command_line_of_other_formats(capsys):
    with pytest.raises(SystemExit):
        export_tool(['a.py', '--out', 'a', '--format', 'torchscript', '--end-to-end'])
    assert '--end-to-end: allowed with --format onnx' in capsys.readouterr().err


def test_a_network_of_a_lower_resolution_is_refused() -> None:
    """Its data preprocessor resizes between padding and network, for which the file has no part."""
    model = {'data_preprocessor': {'type': 'mmhybrid.ResizedInputs', 'size': 64, 'preprocessor': {'type': 'A'}}}
    with pytest.raises(ValueError, match=r'data_preprocessor: got .mmhybrid.ResizedInputs., allowed: one that resizes'):
        Preprocessing.of_config(Config({'model': model}), (96, 96))
