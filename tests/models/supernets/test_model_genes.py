"""Genes of necks and heads: a subnet is the plain model of its host with these sizes, and a part of the shared one."""

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from torch import nn

from mmhybrid.engine.bn_calibration import active_norms
from mmhybrid.models.one_shot import OneShot
from mmhybrid.registry import MODELS
from mmhybrid.space import Arch, GLNetSpace, WholeModelSpace

pytestmark = pytest.mark.dense
WIDTHS = [32, 32, 64, 64]
NETWORK = {
    'embed_dims': WIDTHS,
    'depths': [1, 2, 1, 1],
    'ffn_ratios': [2, 2, 2, 2],
    'mixers': ['local', 'local', 'local', 'mhsa'],
    'num_slots': [16] * 4,
}
# Of each model: its config, what of it is made small, and the genes.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    'rtmdet': (
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        {
            'neck': {'in_channels': WIDTHS[1:], 'out_channels': 24, 'num_csp_blocks': 1, 'norm_cfg': {'type': 'BN'}},
            'bbox_head': {'in_channels': 24, 'feat_channels': 24, 'num_classes': 4, 'norm_cfg': {'type': 'BN'}},
        },
        {'neck': {'out_channels': [8, 16, 24]}, 'bbox_head': {'feat_channels': [12, 24], 'stacked_convs': [1, 2]}},
    ),
    'retinanet': (
        'mmdet::_base_/models/retinanet_r50_fpn.py',
        {
            'neck': {'in_channels': WIDTHS, 'out_channels': 24},
            'bbox_head': {'in_channels': 24, 'feat_channels': 24, 'stacked_convs': 2, 'num_classes': 4},
        },
        {'neck': {'out_channels': [8, 16, 24]}, 'bbox_head': {'feat_channels': [12, 24], 'stacked_convs': [1, 2]}},
    ),
    'mask-rcnn': (
        'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
        {'neck': {'in_channels': WIDTHS, 'out_channels': 24}, 'rpn_head': {'in_channels': 24, 'feat_channels': 24}},
        {
            'neck': {'out_channels': [16, 24]},
            'rpn_head': {'feat_channels': [12, 24]},
            'roi_head': {
                'bbox_head': {'fc_out_channels': [32, 64]},
                'mask_head': {'conv_out_channels': [8, 16], 'num_convs': [2, 3]},
            },
        },
    ),
    'semantic-fpn': (
        'mmseg::_base_/models/fpn_r50.py',
        {
            'neck': {'in_channels': WIDTHS, 'out_channels': 24},
            'decode_head': {'in_channels': [24] * 4, 'channels': 24, 'num_classes': 4, 'norm_cfg': {'type': 'BN'}},
        },
        {'neck': {'out_channels': [8, 16, 24]}, 'decode_head': {'channels': [12, 24]}},
    ),
}
IN_ROI_HEAD = {
    'bbox_roi_extractor': {'out_channels': 24},
    'bbox_head': {'in_channels': 24, 'fc_out_channels': 64, 'num_classes': 4},
    'mask_roi_extractor': {'out_channels': 24},
    'mask_head': {'in_channels': 24, 'conv_out_channels': 16, 'num_convs': 3, 'num_classes': 4},
}
IMAGE = (64, 96)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    MessageHub.get_current_instance().update_info('iter', 0)


def host_config(name: str) -> dict[str, Any]:
    """The host's own config, made small."""
    scope, base = ('mmseg' if name == 'semantic-fpn' else 'mmdet'), CASES[name][0]
    if scope == 'mmdet':
        from mmdet.utils import register_all_modules
    else:
        from mmseg.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    DefaultScope.get_instance(f'whole_{name}', scope_name=scope)
    model = Config.fromstring(f"_base_ = '{base}'", '.py').model
    model.pop('pretrained', None)
    for part, values in CASES[name][1].items():
        model[part].update(values)
    for part, values in IN_ROI_HEAD.items() if name == 'mask-rcnn' else ():
        model.roi_head[part].update(values)
    if name == 'mask-rcnn':
        model.test_cfg.rcnn.score_thr = 0.0
    model.pop('data_preprocessor')
    return model


def one_shot(name: str, genes: dict[str, Any] | None) -> OneShot:
    torch.manual_seed(0)
    config = host_config(name)
    backbone = {'type': 'mmhybrid.GLNet', 'out_indices': (1, 2, 3) if name == 'rtmdet' else (0, 1, 2, 3)}
    space = {'type': 'mmhybrid.GLNetSpace', 'around': NETWORK}
    config['backbone'] = {'type': 'mmhybrid.Supernet', 'space': space, 'backbone': backbone}
    model = OneShot(config, {'type': 'mmhybrid.SandwichMutator', 'num_random': 0}, genes=genes)
    model.init_weights()
    for weight in model.architecture.state_dict().values():  # no norm computes nothing
        if weight.is_floating_point():
            weight += 0.05 * torch.rand_like(weight)
    return model


def plain(name: str, settings: dict[str, Any], backbone: dict[str, Any]) -> nn.Module:
    """The host's model as one would write it down with these sizes."""
    config = host_config(name)
    width = settings['neck.out_channels']
    if name == 'semantic-fpn':
        config['decode_head']['in_channels'] = [width] * 4
    elif name == 'mask-rcnn':
        config['rpn_head']['in_channels'] = width
        for part in ('bbox', 'mask'):
            config['roi_head'][f'{part}_roi_extractor']['out_channels'] = width
            config['roi_head'][f'{part}_head']['in_channels'] = width
    else:
        config['bbox_head']['in_channels'] = width
    for setting, value in settings.items():
        *path, field = setting.split('.')
        part = config
        for key in path:
            part = part[key]
        part[field] = value
    return MODELS.build({**config, 'backbone': backbone})


def outputs(model: Any, images: torch.Tensor) -> list[torch.Tensor]:
    if hasattr(model, 'roi_head'):
        maps = model.extract_feat(images)
        boxes = model.roi_head.bbox_head(maps[0][:, :, :7, :7])
        found = [model.rpn_head(maps), boxes, model.roi_head.mask_head(maps[0])]
    else:
        found = model(images, mode='tensor')
    return list(tensors(found))


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    else:
        for one in value:
            yield from tensors(one)


def leading(wide: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return wide[tuple(map(slice, shape))]


def archs_of(model: OneShot, count: int) -> list[Arch]:
    rng = random.Random(0)
    return [model.space.largest(), model.space.smallest(), *(model.space.sample(rng) for _ in range(count))]


@pytest.mark.parametrize('name', CASES)
def test_a_subnet_is_the_plain_model_of_its_sizes(name: str) -> None:
    """In eval mode, with leading parts of the shared weights, to the bit."""
    model = one_shot(name, CASES[name][2]).eval()
    shared = model.architecture.state_dict()
    images = torch.randn(2, 3, *IMAGE)
    seen = []
    for arch in archs_of(model, 3):
        model.set_arch(arch)
        backbone, weights = model.supernet.export()
        network = plain(name, model.space.settings(arch), backbone)
        own = {key: value for key, value in network.state_dict().items() if not key.startswith('backbone.')}
        own = {key: leading(shared[key], value.shape) for key, value in own.items()}
        network.load_state_dict({**own, **{f'backbone.{key}': value for key, value in weights.items()}})
        expected, found = (outputs(one, images) for one in (network.eval(), model.active))
        assert len(expected) == len(found)
        assert all(map(torch.equal, expected, found))
        seen.append(expected[-1])
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in itertools.combinations(seen, 2))


def test_the_depth_of_the_neck_of_rtmdet_is_a_setting_too(monkeypatch: pytest.MonkeyPatch) -> None:
    base, changes, _ = CASES['rtmdet']
    changes = {**changes, 'neck': {**changes['neck'], 'num_csp_blocks': 3}}
    genes = {'neck': {'out_channels': [8, 24], 'num_csp_blocks': [1, 2, 3]}}
    monkeypatch.setitem(CASES, 'rtmdet', (base, changes, genes))
    test_a_subnet_is_the_plain_model_of_its_sizes('rtmdet')


@pytest.mark.parametrize('name', CASES)
def test_names_and_sizes_are_those_of_the_model_without_genes(name: str) -> None:
    models = [one_shot(name, genes) for genes in (None, CASES[name][2])]
    models[1].set_arch(models[1].space.smallest())
    models[1].active.eval()
    shapes = [{key: tensor.shape for key, tensor in model.state_dict().items()} for model in models]
    assert shapes[0] == shapes[1]
    assert [key for key, _ in models[0].named_parameters()] == [key for key, _ in models[1].named_parameters()]


@pytest.mark.parametrize('name', ['rtmdet', 'retinanet', 'semantic-fpn'])
def test_gradients_reach_the_used_part_alone(name: str) -> None:
    model = one_shot(name, CASES[name][2]).train()
    model.set_arch(model.space.smallest())
    used = {key: tensor.shape for key, tensor in model.active.named_parameters() if not key.startswith('backbone.')}
    sum(out.square().mean() for out in outputs(model.active, torch.randn(2, 3, *IMAGE))).backward()
    reached = 0
    for key, weight in model.architecture.named_parameters():
        if key.startswith('backbone.'):
            continue
        if key not in used:
            assert weight.grad is None or not weight.grad.any(), key
        elif weight.grad is not None:
            outside = weight.grad.clone()
            leading(outside, used[key]).zero_()
            assert not outside.any(), key
            reached += bool(leading(weight.grad, used[key]).any())
    assert reached > 0.8 * len(used)
    assert len(used) < sum(not key.startswith('backbone.') for key, _ in model.architecture.named_parameters()) or (
        name == 'semantic-fpn'  # whose genes are widths alone
    )


def test_a_subnet_sees_what_the_optimizer_did() -> None:
    """A subnet that is kept looks at the weights as they are now, copies and casts of the model too."""
    model = one_shot('rtmdet', CASES['rtmdet'][2]).eval()
    model.set_arch(model.space.smallest())
    images = torch.randn(1, 3, *IMAGE)
    before = outputs(model, images)
    with torch.no_grad():
        for weight in model.architecture.bbox_head.parameters():
            weight *= 2
    after = outputs(model, images)
    assert not torch.equal(before[0], after[0])
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.architecture.bbox_head.parameters():
            weight *= 0
    assert all(map(torch.equal, outputs(twin, images), after))
    assert all(out.dtype == torch.float64 for out in outputs(twin.double(), images.double()))


def test_its_norms_are_those_of_its_neck_and_head() -> None:
    model = one_shot('rtmdet', CASES['rtmdet'][2])
    model.set_arch(model.space.smallest())
    norms = list(active_norms(model))
    active = [norm for part in (model.active.neck, model.active.bbox_head) for norm in part.modules()]
    active = [norm for norm in active if isinstance(norm, nn.BatchNorm2d)]
    assert active
    assert set(active) <= set(norms)
    assert not set(norms) & set(model.architecture.bbox_head.modules())


def test_building_a_subnet_takes_no_random_numbers() -> None:
    model = one_shot('rtmdet', CASES['rtmdet'][2]).train()
    state = torch.get_rng_state()
    model.set_arch(model.space.smallest())
    assert model.active.training
    assert torch.equal(state, torch.get_rng_state())


def test_training_teaches_narrow_maps_too() -> None:
    """With in-place distillation of the neck's maps, whose leading channels are compared."""
    from mmdet.testing import demo_mm_inputs

    config = host_config('rtmdet')
    taught = {'alpha': 0.5, 'features': {'neck': 1.0}}
    config['backbone'] = {
        'type': 'mmhybrid.Supernet',
        'space': {'type': 'mmhybrid.GLNetSpace', 'around': NETWORK},
        'backbone': {'type': 'mmhybrid.GLNet', 'out_indices': (1, 2, 3)},
    }
    model = OneShot(
        config, {'type': 'mmhybrid.SandwichMutator', 'num_random': 1}, taught, genes=CASES['rtmdet'][2]
    ).train()
    batch = demo_mm_inputs(2, [[3, *IMAGE]] * 2, num_items=[2, 1], num_classes=4)
    images = torch.stack(batch['inputs']).float()
    for sample in batch['data_samples']:
        sample.set_metainfo({'batch_input_shape': IMAGE, 'pad_shape': IMAGE})
    losses = model(images, batch['data_samples'], mode='loss')
    assert losses['loss_neck_features'] > 0
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in model.architecture.bbox_head.cls_convs.parameters())


def test_the_space_is_that_of_the_backbone_times_the_settings() -> None:
    backbone = GLNetSpace(around=NETWORK)
    space = WholeModelSpace(backbone, CASES['rtmdet'][2])
    assert space.size() == backbone.size() * 3 * 2 * 2
    arch = space.sample(random.Random(0))
    assert space.decode(arch) == backbone.decode(space.of_backbone(arch))
    assert WholeModelSpace.from_config(space.to_config()).to_config() == space.to_config()
    assert space.encode(NETWORK) == space.largest()
    half = space.restrict({'neck.out_channels': [8, 16], 'bbox_head.*': [1, 12]})
    assert half.size() == backbone.size() * 2
    assert half.settings(half.largest()) == {
        'neck.out_channels': 16,
        'bbox_head.feat_channels': 12,
        'bbox_head.stacked_convs': 1,
    }


@pytest.mark.parametrize(
    ('genes', 'message'),
    [
        ({'neck': {'out_channel': [8]}}, "got 'neck.out_channel', allowed: a setting of the RTMDet that is a number"),
        ({'neck': {'type': [8]}}, 'neck.type'),
        ({'neck': {'out_channels': []}}, 'genes.neck.out_channels'),
        ({'neck': {'out_channels': ['8']}}, 'genes.neck.out_channels'),
        ({'neck': [8]}, 'genes'),
        ({'bbox_head': {}}, 'genes'),
    ],
)
def test_wrong_genes_are_named(genes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace('.', r'\.')):
        one_shot('rtmdet', genes)


def test_a_value_with_layers_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """FPN from its second map on has a layer more than from its third."""
    base, changes, _ = CASES['semantic-fpn']
    changed = {**changes, 'neck': {**changes['neck'], 'start_level': 1}}
    monkeypatch.setitem(CASES, 'semantic-fpn', (base, changed, {}))
    with pytest.raises(ValueError, match=r'genes\.neck\.start_level: got 1, allowed: a value whose layers are part'):
        one_shot('semantic-fpn', {'neck': {'start_level': [1, 2]}})


RESOLUTIONS = {'resolution': [64, 96]}


def batch_of(name: str) -> dict[str, Any]:
    """Two square images with boxes or labels, as a pipeline of a detector or segmentor leaves them."""
    if name != 'semantic-fpn':
        from mmdet.testing import demo_mm_inputs

        masks = name == 'mask-rcnn'
        batch = demo_mm_inputs(2, [[3, 96, 96]] * 2, num_items=[2, 1], num_classes=4, with_mask=masks)
        for sample in batch['data_samples']:
            sample.set_metainfo({'scale_factor': (0.5, 0.75), 'ori_shape': (128, 192)})
        return batch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo={'img_shape': (96, 96), 'ori_shape': (70, 80), 'pad_shape': (96, 96)})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 4, (1, 96, 96)))
        samples.append(sample)
    return {
        'inputs': [torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8) for _ in range(2)],
        'data_samples': samples,
    }


def preprocessor_of(name: str) -> dict[str, Any]:
    kind = 'SegDataPreProcessor' if name == 'semantic-fpn' else 'DetDataPreprocessor'
    return {'type': kind, 'mean': [120.0] * 3, 'std': [60.0] * 3, **({'size': (96, 96)} if kind[0] == 'S' else {})}


def resolving(name: str, distillation: dict[str, Any] | None = None) -> OneShot:
    config = host_config(name)
    backbone = {'type': 'mmhybrid.GLNet', 'out_indices': (1, 2, 3) if name == 'rtmdet' else (0, 1, 2, 3)}
    space = {'type': 'mmhybrid.GLNetSpace', 'around': NETWORK}
    config['backbone'] = {'type': 'mmhybrid.Supernet', 'space': space, 'backbone': backbone}
    config['data_preprocessor'] = preprocessor_of(name)
    mutator = {'type': 'mmhybrid.SandwichMutator', 'num_random': 1, 'one_resolution': True}
    model = OneShot(config, mutator, distillation, genes=RESOLUTIONS)
    model.init_weights()
    for weight in model.architecture.state_dict().values():
        if weight.is_floating_point() and name != 'mask-rcnn':  # whose softmax would be sure that all is background
            weight += 0.05 * torch.rand_like(weight)
    return model


def plain_at(name: str, model: OneShot, resolution: int) -> nn.Module:
    """The model as it is exported: with a preprocessor that resizes."""
    backbone, weights = model.supernet.export()
    first = preprocessor_of(name)
    wrapped = {'type': 'mmhybrid.ResizedInputs', 'size': resolution, 'preprocessor': first}
    network = MODELS.build({**host_config(name), 'backbone': backbone, 'data_preprocessor': wrapped})
    rest = {key: value for key, value in model.architecture.state_dict().items() if not key.startswith('backbone.')}
    network.load_state_dict({**rest, **{f'backbone.{key}': value for key, value in weights.items()}})
    return network


@pytest.mark.parametrize('name', ['rtmdet', 'retinanet', 'mask-rcnn', 'semantic-fpn'])
def test_images_of_a_lower_resolution_are_those_of_the_exported_model(name: str) -> None:
    """Predictions are in the pixels of the original images, to the bit the same, and the batch stays as it was."""
    model, batch = resolving(name).eval(), batch_of(name)
    model.set_arch({**model.space.smallest(), 'resolution': 64})
    given = copy.deepcopy(batch)
    with torch.no_grad():
        found = model.test_step(batch)
        expected = plain_at(name, model, 64).eval().test_step(copy.deepcopy(given))
    for ours, theirs, before in zip(found, expected, given['data_samples'], strict=True):
        if name == 'semantic-fpn':
            assert ours.pred_sem_seg.data.shape[-2:] == before.ori_shape
            assert torch.equal(ours.pred_sem_seg.data, theirs.pred_sem_seg.data)
        else:
            assert len(ours.pred_instances) > 0
            assert torch.equal(ours.pred_instances.bboxes, theirs.pred_instances.bboxes)
            assert torch.equal(ours.pred_instances.scores, theirs.pred_instances.scores)
            masks = ours.pred_instances.get('masks')
            assert masks is None or (masks.any() and torch.equal(masks, theirs.pred_instances.masks))
    for after, before in zip(batch['data_samples'], given['data_samples'], strict=True):
        assert after.get('scale_factor') == before.get('scale_factor')


def test_boxes_are_those_of_the_resized_images() -> None:
    """Against MMDetection on images and boxes that are resized by hand."""
    from torch.nn import functional

    model, batch = resolving('rtmdet').eval(), batch_of('rtmdet')
    model.set_arch({**model.space.largest(), 'resolution': 64})
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    images = functional.interpolate(data['inputs'], (64, 64), mode='bilinear', antialias=True)
    samples = copy.deepcopy(data['data_samples'])
    for sample in samples:
        sample.set_metainfo({'img_shape': (64, 64), 'pad_shape': (64, 64), 'batch_input_shape': (64, 64)})
        sample.set_metainfo({'scale_factor': tuple(64 / 96 * scale for scale in sample.scale_factor)})
        sample.gt_instances.bboxes = sample.gt_instances.bboxes * (64 / 96)
    with torch.no_grad():
        expected = model.architecture(images, copy.deepcopy(samples), mode='loss')
        model.mutator.archs = lambda space, iteration: [model.arch]
        found = model(data['inputs'], data['data_samples'], mode='loss')
        for name, loss in expected.items():
            assert float(found[name]) == pytest.approx(float(sum(loss)), rel=1e-5)
        ours = model(data['inputs'], data['data_samples'], mode='predict')
        theirs = model.architecture(images, samples, mode='predict')
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.pred_instances.bboxes, other.pred_instances.bboxes)
        assert one.pred_instances.bboxes.max() > 64  # in the pixels of the original


@pytest.mark.parametrize('name', ['rtmdet', 'mask-rcnn', 'semantic-fpn'])
def test_models_learn_at_several_resolutions(name: str) -> None:
    alpha = 0 if name == 'mask-rcnn' else 0.5
    model, batch = resolving(name, {'alpha': alpha, 'features': {'neck': 1.0}}).train(), batch_of(name)
    sides = set()
    for iteration in range(6):
        archs = model.mutator.archs(model.space, iteration)
        assert len({arch['resolution'] for arch in archs}) == 1
        sides.add(archs[0]['resolution'])
    assert sides == {64, 96}
    data = model.data_preprocessor(batch, True)
    for iteration in range(2):
        MessageHub.get_current_instance().update_info('iter', iteration)
        losses = model(**data, mode='loss')
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert losses['loss_neck_features'] > 0


def test_maps_of_several_resolutions_are_not_compared() -> None:
    config = host_config('rtmdet')
    space = {'type': 'mmhybrid.GLNetSpace', 'around': NETWORK}
    backbone = {'type': 'mmhybrid.GLNet', 'out_indices': (1, 2, 3)}
    config['backbone'] = {'type': 'mmhybrid.Supernet', 'space': space, 'backbone': backbone}
    with pytest.raises(ValueError, match=r'mutator: got .SandwichMutator., allowed: .*one_resolution=True'):
        OneShot(config, {'type': 'mmhybrid.SandwichMutator'}, {'alpha': 0.5}, genes=RESOLUTIONS)


def test_images_that_are_not_square_are_refused() -> None:
    from mmdet.testing import demo_mm_inputs

    model = resolving('rtmdet').eval()
    with pytest.raises(ValueError, match=r'images: got \(64, 96\), allowed: square ones'):
        model.test_step(demo_mm_inputs(1, [[3, *IMAGE]], num_classes=4))
