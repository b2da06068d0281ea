"""In-place distillation in detectors and segmentors of the hosts, against torch's own divergences."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from torch import nn
from torch.distributions import Bernoulli, Categorical, kl_divergence

from mmhybrid.models.distillation import Distillation, captured
from mmhybrid.models.one_shot import OneShot

pytestmark = pytest.mark.dense
WIDTHS = [32, 32, 64, 64]
NETWORK = {
    'embed_dims': WIDTHS,
    'depths': [1, 2, 2, 1],
    'ffn_ratios': [2, 2, 2, 2],
    'mixers': ['glmix', ['glmix', 'local'], 'glmix', 'mhsa'],
    'num_slots': [16] * 4,
}
DETECTORS = {
    'retinanet': ('mmdet::_base_/models/retinanet_r50_fpn.py', {'neck': {'in_channels': WIDTHS, 'out_channels': 16}}),
    'rtmdet': (
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        {'neck': {'in_channels': WIDTHS[1:], 'out_channels': 16, 'num_csp_blocks': 1}},
    ),
    'mask-rcnn': ('mmdet::_base_/models/mask-rcnn_r50_fpn.py', {'neck': {'in_channels': WIDTHS}}),
}
SEGMENTORS = {'upernet': 'mmseg::_base_/models/upernet_r50.py', 'fpn': 'mmseg::_base_/models/fpn_r50.py'}
ALL = [*DETECTORS, *SEGMENTORS]


@pytest.fixture(autouse=True)
def first_iteration() -> Iterator[None]:
    torch.manual_seed(0)
    MessageHub.get_current_instance().update_info('iter', 0)
    yield
    MessageHub.get_current_instance().update_info('iter', 0)


def detector(name: str) -> tuple[Config, dict[str, Any]]:
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    DefaultScope.get_instance(f'distilled_{name}', scope_name='mmdet')
    base, changes = DETECTORS[name]
    model = Config.fromstring(f"_base_ = '{base}'", '.py').model
    for part, values in changes.items():
        model[part].update(values)
    if name != 'mask-rcnn':
        model['bbox_head'].update(in_channels=16, feat_channels=16, num_classes=4)
    model['data_preprocessor'] = {**model['data_preprocessor'], 'batch_augments': None}
    batch = demo_mm_inputs(2, [[3, 96, 128]] * 2, num_items=[2, 1], num_classes=4, with_mask=name == 'mask-rcnn')
    return model, batch


def segmentor(name: str) -> tuple[Config, dict[str, Any]]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    DefaultScope.get_instance(f'distilled_{name}', scope_name='mmseg')
    model = Config.fromstring(f"_base_ = '{SEGMENTORS[name]}'", '.py').model
    model.pretrained = None
    model.data_preprocessor.size = (64, 96)
    head = {'channels': 16, 'num_classes': 4, 'norm_cfg': {'type': 'BN'}, 'dropout_ratio': 0}
    if name == 'upernet':
        model.decode_head.update(in_channels=WIDTHS, **head)
        model.auxiliary_head.update(in_channels=WIDTHS[2], **head)
    else:
        model.neck.update(in_channels=WIDTHS, out_channels=16)
        model.decode_head.update(in_channels=[16] * 4, **head)
    sample = SegDataSample(metainfo={'img_shape': (64, 96), 'ori_shape': (64, 96), 'pad_shape': (64, 96)})
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 4, (1, 64, 96)))
    return model, {'inputs': [torch.randint(0, 256, (3, 64, 96)) for _ in range(2)], 'data_samples': [sample] * 2}


def one_shot(name: str, distillation: dict[str, Any] | None = None) -> tuple[OneShot, dict[str, Any]]:
    model, batch = (detector if name in DETECTORS else segmentor)(name)
    backbone = {'type': 'mmhybrid.GLNet', 'out_indices': (1, 2, 3) if name == 'rtmdet' else (0, 1, 2, 3)}
    space = {'type': 'mmhybrid.GLNetSpace', 'around': NETWORK}
    model['backbone'] = {'type': 'mmhybrid.Supernet', 'space': space, 'backbone': backbone}
    model = OneShot(model, {'type': 'mmhybrid.SandwichMutator', 'num_random': 0}, distillation)
    model.init_weights()
    return model.train(), batch


def what(name: str) -> dict[str, Any]:
    """What there is to compare in a model."""
    modules = ('backbone',) if name == 'upernet' else ('backbone', 'neck')
    return {'alpha': 0 if name == 'mask-rcnn' else 0.25, 'features': dict.fromkeys(modules, 2.0)}


def losses_of(model: OneShot, batch: dict[str, Any], archs: list[Any]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)  # Mask R-CNN draws proposals
    model.mutator.archs = lambda space, iteration: archs
    return model(**model.data_preprocessor(copy.deepcopy(batch), True), mode='loss')


def maps_of(model: OneShot, batch: dict[str, Any], arch: Any) -> dict[str, list[torch.Tensor]]:
    """What each module computes, called one after the other."""
    model.set_arch(arch)
    images = model.data_preprocessor(copy.deepcopy(batch), True)['inputs']
    whole = model.architecture
    found = {'backbone': list(whole.backbone(images))}
    features = found['backbone']
    if whole.with_neck:
        features = found['neck'] = list(whole.neck(tuple(features)))
    if hasattr(whole, 'decode_head'):
        found['logits'] = [whole.decode_head.forward(features)]
    elif whole.with_bbox and not hasattr(whole, 'roi_head'):
        found['logits'] = list(whole.bbox_head(tuple(features))[0])
    return found


@pytest.mark.parametrize('name', ALL)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name: str) -> None:
    model, batch = one_shot(name, what(name))
    largest = model.space.largest()
    losses = losses_of(model, batch, [largest, largest])
    taught = {key: loss.item() for key, loss in losses.items() if 'distillation' in key or 'features' in key}
    assert len(taught) == len(what(name)['features']) + (name != 'mask-rcnn')
    assert taught == dict.fromkeys(taught, 0.0)


@pytest.mark.parametrize('name', ALL)
def test_losses_are_those_of_torch(name: str) -> None:
    """Divergences are those of ``torch.distributions``."""
    model, batch = one_shot(name, what(name))
    archs = [model.space.largest(), model.space.smallest()]
    losses = losses_of(model, batch, archs)
    teacher, student = (maps_of(model, batch, arch) for arch in archs)
    for module in what(name)['features']:
        distances = [((s - t) ** 2).sum() / (t**2).sum() for s, t in zip(student[module], teacher[module], strict=True)]
        expected = 2.0 * sum(distances) / len(distances) / 2
        torch.testing.assert_close(losses[f'loss_{module}_features'], expected, rtol=1e-4, atol=1e-6)
    if name in SEGMENTORS:
        t, s = (Categorical(logits=maps['logits'][0].permute(0, 2, 3, 1)) for maps in (teacher, student))
        divergence = kl_divergence(t, s).mean()
    elif name != 'mask-rcnn':
        t, s = (torch.cat([one.flatten() for one in maps['logits']]) for maps in (teacher, student))
        divergence = kl_divergence(Bernoulli(logits=t), Bernoulli(logits=s)).sum() / t.sigmoid().sum()
    if name != 'mask-rcnn':
        torch.testing.assert_close(losses['loss_distillation'], 0.25 * divergence / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('name', [name for name in ALL if name != 'mask-rcnn'])  # which draws its proposals
def test_labels_have_their_share_of_the_same_logits_and_the_whole_of_others(name: str) -> None:
    model, batch = one_shot(name, what(name))
    archs = [model.space.largest(), model.space.smallest()]
    losses = losses_of(model, batch, archs)
    model.distillation = None
    alone = [losses_of(model, batch, [arch]) for arch in archs]
    shared = 'loss_cls' if name in DETECTORS else 'decode.loss_ce'
    assert shared in alone[0]
    for key in alone[0]:
        share = 0.75 if key == shared else 1
        torch.testing.assert_close(losses[key], (alone[0][key] + share * alone[1][key]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ALL)
def test_gradients_reach_the_student_alone(name: str) -> None:
    """What the largest has and the smallest lacks gets none of what the smallest learns of it."""
    model, batch = one_shot(name, what(name))
    losses = losses_of(model, batch, [model.space.largest(), model.space.smallest()])
    sum(loss for key, loss in losses.items() if 'distillation' in key or 'features' in key).backward()
    gradients = {
        key: 0.0 if p.grad is None else float(p.grad.abs().sum()) for key, p in model.supernet.named_parameters()
    }
    lacking = {
        key: size for key, size in gradients.items() if key.startswith(('weights.stages.1.1.', 'weights.stages.2.1.'))
    }
    assert len(lacking) > 10
    assert not any(lacking.values())
    hidden = model.supernet.get_parameter('weights.stages.2.0.ffn.conv1.weight').grad.flatten(1).abs().sum(1)
    assert hidden[:64].all()
    assert not hidden[64:].any()
    assert not any('.forward' in key or 'forward' in vars(module) for key, module in model.named_modules())


@pytest.mark.parametrize('name', ['rtmdet', 'fpn'])
def test_a_resumed_training_is_the_uninterrupted_one(name: str) -> None:
    """The seed and the iteration are the whole random state: no teacher is kept from one step to the next."""

    def train(model: OneShot, wrapper: OptimWrapper, iterations: range) -> None:
        for iteration in iterations:
            torch.manual_seed(iteration)
            MessageHub.get_current_instance().update_info('iter', iteration)
            model.train_step(copy.deepcopy(batch), wrapper)

    def new() -> tuple[OneShot, OptimWrapper]:
        model, _ = one_shot(name, what(name))
        return model, OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))

    _, batch = one_shot(name)
    model, wrapper = new()
    train(model, wrapper, range(2))
    saved = copy.deepcopy((model.state_dict(), wrapper.state_dict()))
    train(model, wrapper, range(2, 4))
    resumed, other = new()
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    train(resumed, other, range(2, 4))
    for key, value in resumed.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


@pytest.mark.parametrize(
    ('name', 'distillation', 'message'),
    [
        ('mask-rcnn', {}, 'distillation.alpha: got 0.5, allowed: 0 for a MaskRCNN'),
        ('mask-rcnn', {'alpha': 0}, r'distillation.alpha: got 0.*, allowed: a number above 0, or features'),
        ('upernet', {'features': {'neck': 1}}, "distillation.features: got 'neck', allowed: a module that"),
        ('fpn', {'features': {'head': 1}}, 'distillation.features: surplus head'),
        ('fpn', {'features': {'neck': -1}}, 'distillation.features.neck: got -1'),
        ('retinanet', {'kind': 'hard'}, "distillation.kind: got 'hard', allowed: 'soft' for the sigmoids of a Retina"),
    ],
)
def test_mistakes_are_named(name: str, distillation: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one_shot(name, distillation)


def test_no_map_of_zeros_divides_by_nothing() -> None:
    from mmhybrid.models.distillation import Outputs

    zeros = Outputs([], {'neck': [torch.zeros(1, 2, 3, 3)]})
    losses = Distillation(alpha=0, features={'neck': 1}).losses(zeros, zeros, sigmoid=False)
    assert float(losses['loss_neck_features']) == 0


def test_modules_compute_as_before_once_they_are_no_longer_watched():
    plain, patched = nn.Identity(), nn.Identity()
    patched.forward = lambda x: x + 1  # as tools that profile or compile one module do
    with captured({'plain': plain, 'again': plain, 'patched': patched}) as outputs:
        assert plain(1) + patched(1) == 3
    assert outputs == {'plain': 1, 'again': 1, 'patched': 2}
    assert plain(2) + patched(2) == 5
    assert outputs == {'plain': 1, 'again': 1, 'patched': 2}
