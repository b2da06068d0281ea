"""One-shot training, distillation and batch-norm calibration, on a small classifier."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn import functional as F

from mmhybrid.engine.bn_calibration import active_norms, calibrate, calibrated, calibration_batches
from mmhybrid.engine.subnet_val import reported_archs
from mmhybrid.models import fitting
from mmhybrid.models.distillation import Distillation
from mmhybrid.models.one_shot import OneShot
from mmhybrid.models.supernets import Supernet
from mmhybrid.models.teachers import Teacher

SPACE = {
    'type': 'mmhybrid.AutoViTSpace',
    'table': {
        'stem_widths': [8],
        'conv_widths': [[8], [8], [8, 16]],
        'conv_depths': [[1], [1], [1, 2]],
        'widths': [[16], [16, 32], [32, 48]],
        'num_stages': [3],
        'num_heads': [1, 2],
        'depths': [1, 2],
        'resolutions': [64],
    },
}
TEACHER_CONFIG = """
data_preprocessor = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0], to_rgb={to_rgb})
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes={num_classes}, in_channels=64))
"""


@pytest.fixture(autouse=True)
def mmpretrain_scope() -> Iterator[None]:
    import mmpretrain.models  # noqa: F401

    DefaultScope.get_instance('one_shot_tests', scope_name='mmpretrain')
    torch.manual_seed(0)
    MessageHub.get_current_instance().update_info('iter', 0)
    yield
    MessageHub.get_current_instance().update_info('iter', 0)


def classifier(space: dict = SPACE) -> dict[str, Any]:
    return {
        'type': 'ImageClassifier',
        'backbone': {'type': 'mmhybrid.Supernet', 'space': space, 'backbone': {'type': 'mmhybrid.AutoViT'}},
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 5, 'in_channels': 192, 'topk': (1,)},
    }


def one_shot(mutator: str = 'UniformMutator', space: dict = SPACE, **arguments: Any) -> OneShot:
    return OneShot(architecture=classifier(space), mutator={'type': mutator}, **arguments)


def batch(size: int = 4, side: int = 64) -> tuple[torch.Tensor, list]:
    from mmpretrain.structures import DataSample

    samples = [
        DataSample().set_gt_label(i % 5).set_gt_score(F.one_hot(torch.tensor(i % 5), 5).float()) for i in range(size)
    ]
    return torch.randn(size, 3, side, side), samples


def save_teacher(folder: Path, num_classes: int = 5, to_rgb: bool = True) -> dict[str, str]:
    from mmengine.config import Config

    from mmhybrid.registry import MODELS

    config = folder / 'teacher.py'
    config.write_text(TEACHER_CONFIG.format(num_classes=num_classes, to_rgb=to_rgb))
    model = MODELS.build({**Config.fromfile(config).model, '_scope_': 'mmpretrain'})
    torch.save({'state_dict': model.state_dict()}, folder / 'teacher.pth')
    return {'config': str(config), 'checkpoint': str(folder / 'teacher.pth')}


def test_uniform_loss_is_that_of_the_picked_subnet() -> None:
    model, (images, samples) = one_shot(), batch()
    MessageHub.get_current_instance().update_info('iter', 17)
    loss = model(images, samples, mode='loss')['loss']
    (arch,) = model.mutator.archs(model.space, 17)
    assert model.supernet.arch == arch
    expected = model.architecture(images, samples, mode='loss')['loss']
    torch.testing.assert_close(loss, expected)


def test_sandwich_loss_is_the_mean() -> None:
    model, (images, samples) = one_shot('SandwichMutator'), batch()
    losses = []
    for arch in model.mutator.archs(model.space, 0):
        model.set_arch(arch)
        losses.append(model.architecture(images, samples, mode='loss')['loss'])
    assert len(losses) == 4
    torch.testing.assert_close(model(images, samples, mode='loss')['loss'], torch.stack(losses).mean())


@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_of_a_step_are_the_mean_of_its_subnets(with_cp: bool) -> None:
    model, (images, samples) = one_shot('SandwichMutator'), batch()
    model.supernet.backbone_cfg['with_cp'] = with_cp
    small, large = model.space.smallest(), model.space.largest()
    archs = [large, small, large]  # the same twice: its tensors are put into place anew in between
    wanted = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for arch in archs:
        model.zero_grad()
        model.set_arch(arch)
        model.architecture(images, samples, mode='loss')['loss'].backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                wanted[name] += parameter.grad / len(archs)
    model.zero_grad()
    model.mutator.archs = lambda space, iteration: archs
    model(images, samples, mode='loss')['loss'].backward()
    for name, parameter in model.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, wanted[name], rtol=1e-4, atol=1e-5)


def test_the_largest_teaches_in_place() -> None:
    model, (images, samples) = one_shot('SandwichMutator', distillation={'alpha': 0.25}), batch()
    archs = model.mutator.archs(model.space, 0)
    hard, logits = [], []
    for arch in archs:
        model.set_arch(arch)
        hard.append(model.architecture(images, samples, mode='loss')['loss'])
        logits.append(model.architecture(images, mode='tensor'))
    losses = model(images, samples, mode='loss')
    torch.testing.assert_close(losses['loss'], (hard[0] + 0.75 * sum(hard[1:])) / 4)
    soft = [F.kl_div(student.log_softmax(-1), logits[0].softmax(-1), reduction='batchmean') for student in logits[1:]]
    torch.testing.assert_close(losses['loss_distillation'], 0.25 * sum(soft) / 4)


def test_lists_of_losses_may_differ_in_shape() -> None:
    model, (images, samples) = one_shot('SandwichMutator'), batch()
    returned = [
        {'loss_box': [torch.tensor([1.0, 3.0]), torch.tensor([5.0])], 'acc': torch.tensor([float(i)] * (i + 1))}
        for i in range(4)
    ]
    model.architecture.forward = lambda *_, **__: returned.pop()
    losses = model(images, samples, mode='loss')
    assert {name: value.item() for name, value in losses.items()} == {'loss_box': 2.0 + 5.0, 'acc': 1.5}


@pytest.mark.parametrize('temperature', [1.0, 4.0])
def test_soft_distillation(temperature: float) -> None:
    student, teacher = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5)
    distillation = Distillation('soft', alpha=0.5, temperature=temperature)
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    expected = 0.5 * temperature**2 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(distillation.loss(student, teacher), expected)
    torch.testing.assert_close(distillation.loss(teacher, teacher), torch.tensor(0.0))


def test_hard_distillation() -> None:
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    expected = -student.log_softmax(-1)[range(6), teacher.argmax(-1)].mean() * 0.3
    torch.testing.assert_close(Distillation('hard', alpha=0.3).loss(student, teacher), expected)


def test_teacher_stands_outside(tmp_path: Path) -> None:
    model = one_shot(teacher=save_teacher(tmp_path), distillation={'kind': 'hard', 'alpha': 0.5})
    alone = one_shot()
    assert model.state_dict().keys() == alone.state_dict().keys()
    images, samples = batch()
    model.train()
    losses = model(images, samples, mode='loss')
    assert losses.keys() == {'loss', 'loss_distillation'}
    teacher = model.lesson.teacher
    assert not any(module.training for module in teacher.model.modules())
    sum(losses.values()).backward()
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.model.parameters())


def test_copies_share_the_teacher(tmp_path: Path) -> None:
    model = one_shot(teacher=save_teacher(tmp_path), distillation={})
    assert copy.deepcopy(model).lesson.teacher is model.lesson.teacher


@pytest.mark.parametrize('teacher_to_rgb', [False, True])
@pytest.mark.parametrize('student_to_rgb', [False, True])
def test_teacher_sees_images_as_its_own_preprocessor_makes_them(
    student_to_rgb: bool, teacher_to_rgb: bool, tmp_path: Path
) -> None:
    model = one_shot(
        teacher=save_teacher(tmp_path, to_rgb=teacher_to_rgb),
        distillation={},
        data_preprocessor={'mean': [1, 2, 3], 'std': [4, 5, 6], 'to_rgb': student_to_rgb},
    )
    raw = torch.rand(2, 3, 64, 64) * 255
    teacher = model.lesson.teacher
    ordered = raw.flip(1) if teacher_to_rgb else raw
    images = (ordered - torch.tensor([100.0, 110, 120]).view(3, 1, 1)) / torch.tensor([50.0, 60, 70]).view(3, 1, 1)
    found = model._teacher_logits(model.data_preprocessor({'inputs': raw})['inputs'], None)
    torch.testing.assert_close(found, teacher.model(images), rtol=1e-4, atol=1e-5)
    own = teacher.model.data_preprocessor({'inputs': raw})['inputs']
    torch.testing.assert_close(found, teacher.model(own), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, teacher.model(images.flip(1)), rtol=1e-2, atol=1e-4)


def test_a_preprocessor_of_unknown_normalisation_is_refused_with_a_teacher(tmp_path: Path) -> None:
    resized = {'type': 'mmhybrid.ResizedInputs', 'size': 64, 'preprocessor': {'type': 'ClsDataPreprocessor'}}
    with pytest.raises(ValueError, match=r"data_preprocessor: got 'ResizedInputs', allowed: one of MMPretrain's"):
        one_shot(teacher=save_teacher(tmp_path), distillation={}, data_preprocessor=resized)


@pytest.mark.parametrize(('tag', 'mean'), [('', (0.485, 0.456, 0.406)), ('.ap_in1k', (0.5, 0.5, 0.5))])
def test_a_tag_of_timm_says_how_images_are_normalised(tag: str, mean: tuple[float, ...], tmp_path: Path) -> None:
    """AdvProp's weights are for another mean than the usual one."""
    timm = pytest.importorskip('timm')
    name = f'tf_efficientnet_b0{tag}'
    torch.save(timm.create_model(name).state_dict(), tmp_path / 'teacher.pth')
    teacher = Teacher(str(tmp_path / 'teacher.pth'), timm=name)
    pixels = torch.tensor(mean).mul(255).flip(0).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    black = teacher.model(torch.zeros(1, 3, 32, 32))
    torch.testing.assert_close(teacher.logits(pixels), black, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=r'teacher.timm: .*nonsense'):
        Teacher(str(tmp_path / 'teacher.pth'), timm='tf_efficientnet_b0.nonsense')
    with pytest.raises(ValueError, match=r"teacher.timm: got 'regnet.nonsense', allowed: a name of timm.list_models"):
        Teacher(str(tmp_path / 'teacher.pth'), timm='regnet.nonsense')


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'is not read: it is damaged, or a pickle of something else'),
        (b'This is a text, not a checkpoint.', 'is not read: it is damaged, or a pickle of something else'),
        (torch.zeros(2), 'is not a checkpoint: it holds a Tensor'),
        ({'state_dict': [1, 2]}, 'is not a checkpoint: its state_dict is a list'),
    ],
)
def test_unreadable_weights_of_a_teacher(content: Any, reason: str, tmp_path: Path) -> None:
    teacher = save_teacher(tmp_path)
    path = Path(teacher['checkpoint'])
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=rf'^teacher\.checkpoint: .*teacher\.pth {reason}.*$'):
        one_shot(teacher=teacher, distillation={})


def test_refuses(tmp_path: Path) -> None:
    teacher = save_teacher(tmp_path, num_classes=7)
    with pytest.raises(ValueError, match='number of classes of the teacher: got 7, allowed: the 5 of the student'):
        one_shot(teacher=teacher, distillation={})
    with pytest.raises(ValueError, match=r'teacher.checkpoint: got .*none.pth'):
        one_shot(teacher={**teacher, 'checkpoint': 'none.pth'}, distillation={})
    with pytest.raises(ValueError, match='distillation: got None'):
        one_shot(teacher=save_teacher(tmp_path))
    with pytest.raises(ValueError, match='teacher: got'):
        one_shot(teacher={'checkpoint': teacher['checkpoint']}, distillation={})
    torch.save({'head.fc.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'teacher.checkpoint: .*other.pth does not fit the model: .*head.fc.bias'):
        one_shot(teacher={**teacher, 'checkpoint': str(tmp_path / 'other.pth')}, distillation={})
    with pytest.raises(ValueError, match='teacher: got None'):
        one_shot(distillation={})
    with pytest.raises(ValueError, match=r'distillation.kind: got .*warm'):
        one_shot(distillation={'kind': 'warm'})
    with pytest.raises(ValueError, match=r'architecture.backbone.type: got .*ResNet'):
        OneShot({**classifier(), 'backbone': {'type': 'ResNet', 'depth': 18}}, {'type': 'UniformMutator'})
    for none in ({}, {'backbone': None}):
        with pytest.raises(ValueError, match=r'architecture.backbone: got None, allowed: a Mapping'):
            OneShot({'type': 'ImageClassifier', **none}, {'type': 'UniformMutator'})


@pytest.mark.parametrize('width', [None, 96, 193])
@pytest.mark.parametrize('neck', [{'type': 'GlobalAveragePooling'}, None, [{'type': 'GlobalAveragePooling'}]])
def test_a_head_reads_the_widest_subnet(width: int | None, neck: Any) -> None:
    """Whatever width a config names, such as that of the network whose classifier it inherits."""
    architecture = {**classifier(), 'neck': neck}
    architecture['head'] = {**architecture['head'], 'in_channels': width}
    model = OneShot(architecture, {'type': 'UniformMutator'})
    assert model.supernet.out_channels[-1] == 192
    assert model.architecture.head.fc.in_features == 192
    assert architecture['head']['in_channels'] == width


def test_a_neck_reads_the_widest_subnet() -> None:
    backbone = {**classifier()['backbone'], 'backbone': {'type': 'mmhybrid.AutoViT', 'out_indices': (2, 3)}}
    widths = list(Supernet(SPACE, backbone['backbone']).out_channels)
    neck = {'type': 'HRFuseScales', 'in_channels': [8, 16]}
    model = {**classifier(), 'backbone': backbone, 'neck': neck}
    assert fitting.with_widths(model, widths) == {**model, 'neck': {**neck, 'in_channels': widths}}
    assert neck['in_channels'] == [8, 16]
    for outputs in (widths, widths[:1]):
        fitted = fitting.with_widths({**model, 'neck': {**neck, 'in_channels': None}}, outputs)
        assert fitted['neck']['in_channels'] == (outputs if len(outputs) > 1 else outputs[0])
    with pytest.raises(ValueError, match=r'neck.in_channels: got \[8, 16, 32\], allowed: at most 2 outputs'):
        fitting.with_widths({**model, 'neck': {**neck, 'in_channels': [8, 16, 32]}}, widths)


@pytest.mark.parametrize('resolutions', [[64, 96], [64]])
def test_images_are_resized_to_the_resolution(resolutions: list[int]) -> None:
    space = {**SPACE, 'table': {**SPACE['table'], 'resolutions': resolutions}}
    model = one_shot(space=space).eval()
    seen = []
    model.architecture.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[-1]))
    for resolution in resolutions:
        model.set_arch({**model.space.largest(), 'resolution': resolution})
        model(torch.randn(1, 3, 96, 96), mode='tensor')
    assert seen == resolutions


def randomise_statistics(model: nn.Module) -> None:
    for name, buffer in model.named_buffers():
        if 'running' in name:
            buffer.uniform_(0.5, 2)


def test_calibration_averages_and_restores() -> None:
    model = one_shot()
    randomise_statistics(model)
    model.set_arch(model.space.smallest())
    batches = [{'inputs': torch.randint(0, 255, (4, 3, 64, 64)).float(), 'data_samples': batch()[1]} for _ in range(3)]
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    stem = model.supernet.weights.stem
    with torch.no_grad():
        maps = [stem[0](model.data_preprocessor(dict(data))['inputs']) for data in batches]
    mean = torch.stack([x.mean((0, 2, 3)) for x in maps]).mean(0)
    variance = torch.stack([x.var((0, 2, 3)) for x in maps]).mean(0)

    model.train()
    with calibrated(model, batches):
        torch.testing.assert_close(stem[1].running_mean, mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(stem[1].running_var, variance, rtol=1e-4, atol=1e-4)
        assert not any(module.training for module in model.supernet.subnet.modules())
        first = model(torch.ones(2, 3, 64, 64), mode='tensor')
    assert model.training
    after = dict(model.named_buffers())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    with calibrated(model, batches):
        assert torch.equal(model(torch.ones(2, 3, 64, 64), mode='tensor'), first)


def test_calibration_reaches_every_norm_of_the_subnet_alone() -> None:
    model = one_shot()
    model.set_arch(model.space.smallest())
    norms = list(active_norms(model))
    assert len(norms) == sum(isinstance(module, nn.BatchNorm2d) for module in model.supernet.subnet.modules())
    calibrate(model.eval(), [{'inputs': torch.randint(0, 255, (4, 3, 64, 64)).float()}])
    assert all(int(norm.num_batches_tracked) == 1 for norm in norms)


def test_calibration_leaves_frozen_norms_alone() -> None:
    architecture = classifier(SPACE)
    architecture['backbone']['backbone'] = {'type': 'mmhybrid.AutoViT', 'frozen_stages': 0}
    model = OneShot(architecture=architecture, mutator={'type': 'UniformMutator'})
    randomise_statistics(model)
    before = model.supernet.weights.stem[1].running_mean.clone()
    other = model.supernet.weights.conv_stages[0][0]
    norm = next(module for module in other.modules() if isinstance(module, nn.BatchNorm2d))
    changing = norm.running_mean.clone()
    calibrate(model, [{'inputs': torch.randint(0, 255, (4, 3, 64, 64)).float()}])
    assert torch.equal(model.supernet.weights.stem[1].running_mean, before)
    assert not torch.equal(norm.running_mean, changing)
    assert not any(module.training for module in model.modules())


def test_calibration_needs_enough_images() -> None:
    from mmengine.registry import DATASETS
    from torch.utils.data import Dataset

    @DATASETS.register_module(force=True)
    class Images(Dataset):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> dict:
            return {'inputs': torch.full((3, 8, 8), float(index))}

    sizes = [len(data['inputs']) for data in calibration_batches({'type': 'Images'}, 6, batch_size=4)]
    assert sizes == [4, 2]
    with pytest.raises(ValueError, match=r'calibration.num_images: got 11, allowed: an int from 1 to 10'):
        calibration_batches({'type': 'Images'}, 11)
    first, second, third = (
        torch.stack(
            [image for data in calibration_batches({'type': 'Images'}, 9, seed=seed) for image in data['inputs']]
        )
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_reported_archs_are_fixed() -> None:
    space = one_shot().space
    archs = reported_archs(space, 3, seed=0)
    assert list(archs) == ['largest', 'smallest', 'random0', 'random1', 'random2']
    assert archs == reported_archs(space, 3, seed=0) != reported_archs(space, 3, seed=1)


def mask_rcnn() -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    """A detector, a batch of it, and losses that it must have."""
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=False)
    DefaultScope.get_instance('one_shot_det', scope_name='mmdet')
    config = Config.fromstring("_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'", '.py').model
    config.neck.in_channels = None
    data = demo_mm_inputs(1, [[3, 64, 64]], num_items=[2], num_classes=4, with_mask=True)
    return config, data, {'loss', 'loss_mask', 'loss_rpn_cls'}


def upernet() -> tuple[dict[str, Any], dict[str, Any], set[str]]:
    """A segmentor, a batch of it, and losses that it must have."""
    from mmengine.config import Config
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    DefaultScope.get_instance('one_shot_seg', scope_name='mmseg')
    config = Config.fromstring("_base_ = 'mmseg::_base_/models/upernet_r50.py'", '.py').model
    for head in (config.decode_head, config.auxiliary_head):
        head.update(in_channels=None, channels=16, num_classes=4, norm_cfg={'type': 'BN'})
    sample = SegDataSample(metainfo={'img_shape': (64, 64), 'ori_shape': (64, 64), 'pad_shape': (64, 64)})
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 4, (1, 64, 64)))
    config.pretrained = None
    config.data_preprocessor.size = (64, 64)
    data = {'inputs': [torch.randint(0, 256, (3, 64, 64))] * 2, 'data_samples': [sample] * 2}
    return config, data, {'loss', 'decode.loss_ce', 'aux.loss_ce'}


@pytest.mark.dense
@pytest.mark.parametrize('host', [mask_rcnn, upernet])
def test_a_dense_predictor_with_a_supernet_trains_and_is_judged(host: Callable[[], tuple]) -> None:
    from mmengine.optim import OptimWrapper

    config, data, losses = host()
    config['backbone'] = {
        'type': 'mmhybrid.Supernet',
        'space': SPACE,
        'backbone': {'type': 'mmhybrid.AutoViT', 'out_indices': (0, 1, 2, 3), 'mbpool': False},
    }
    model = OneShot(config, {'type': 'UniformMutator'})
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    before = model.supernet.weights.stem[0].weight.clone()
    for iteration in range(2):
        MessageHub.get_current_instance().update_info('iter', iteration)
        logs = model.train_step(copy.deepcopy(data), wrapper)
        assert losses <= logs.keys()
        assert torch.isfinite(logs['loss'])
    assert not torch.equal(before, model.supernet.weights.stem[0].weight)
    with calibrated(model, [copy.deepcopy(data)]):
        norms = [module for module in model.supernet.subnet.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms
        assert all(int(norm.num_batches_tracked) == 1 for norm in norms)
        predictions = model.val_step(copy.deepcopy(data))
    assert len(predictions) == len(data['inputs'])
