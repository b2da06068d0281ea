"""Published names become ours, each tensor once, and what comes out loads in every host."""

import logging
import os
from importlib import import_module

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint

from mmhybrid.models.build import on_meta
from mmhybrid.models.convert import convert, convert_file
from mmhybrid.registry import MODELS

NAMES = ('glnet_stl', 'glnet_4g', 'glit_tiny')
PRESET = {'glnet_stl': 'stl', 'glnet_4g': '4g', 'glit_tiny': 'tiny'}
BACKBONE = {
    name: {'type': 'mmhybrid.GLiT' if 'glit' in name else 'mmhybrid.GLNet', 'arch': PRESET[name]} for name in NAMES
}
HOSTS = pytest.mark.parametrize(
    'host',
    ['mmpretrain', pytest.param('mmdet', marks=pytest.mark.dense), pytest.param('mmseg', marks=pytest.mark.dense)],
)


def blank(shape):
    """A tensor of this shape that takes no memory."""
    return torch.zeros(()).expand(shape)


def scaled(shape, numerator, denominator=1):
    """The shape in a network of other widths: kernels, images, classes and the 1 of a depth-wise kernel stay."""
    return [size if size in (1, 3, 5, 1000) else size * numerator // denominator for size in shape]


@pytest.fixture(scope='module')
def released_9g(published):
    return {name: blank(scaled(value.shape, 3, 2)) for name, value in published('glnet_4g').weights.items()}


@pytest.fixture(scope='module')
def released_16g(published):
    """With layer scales in the three shapes they may have."""
    state = {name: blank(scaled(value.shape, 2)) for name, value in published('glnet_4g').weights.items()}
    for name in [name for name in state if name.endswith('norm1.weight')]:
        (width,) = state[name].shape
        block = name.removesuffix('norm1.weight')
        state[f'{block}ls1.gamma'] = blank([1, width, 1, 1])
        state[f'{block}ls2.gamma'] = blank([width, 1, 1] if '.0.' in block else [width])
    return state


@pytest.fixture(scope='module')
def released_paramslot(published):
    state = dict(published('glnet_stl').weights)
    for name in [name for name in state if name.endswith('slot_scale')]:
        width = len(state[name.replace('slot_scale', 'norm1.weight')])
        state[name.replace('slot_scale', 'init_slots')] = blank([1, 64, width])
    return state


@pytest.mark.parametrize('name', NAMES)
def test_every_tensor_is_used_once(published, name):
    weights = published(name).weights
    state = convert(weights, PRESET[name])['state_dict']
    assert sorted(value.data_ptr() for value in state.values()) == sorted(v.data_ptr() for v in weights.values())
    assert sum(value.numel() for value in state.values()) == sum(value.numel() for value in weights.values())


@pytest.mark.parametrize(
    ('source', 'arch'), [('released_9g', '9g'), ('released_16g', '16g'), ('released_paramslot', 'stl-paramslot')]
)
def test_other_presets_are_recognised(request, source, arch):
    released = request.getfixturevalue(source)
    pooled = {} if source == 'released_paramslot' else {'num_slots': 64}
    checkpoint = convert(released, head_dim=32, **pooled)
    assert checkpoint['meta'] == convert(released, arch)['meta']
    assert checkpoint['meta']['backbone'] == {'type': 'mmhybrid.GLNet', 'arch': arch}
    assert len(checkpoint['state_dict']) == len(released)
    with on_meta():
        backbone = MODELS.build(checkpoint['meta']['backbone'])
    expected = backbone.state_dict(prefix='backbone.')
    assert expected.keys() == {name for name in checkpoint['state_dict'] if name.startswith('backbone.')}
    assert all(checkpoint['state_dict'][name].shape == value.shape for name, value in expected.items())


def test_token_labelling_head(published):
    weights = dict(published('glnet_4g').weights)
    weights['tklb_aux_head.weight'] = torch.randn(1000, 512)
    weights['tklb_aux_head.bias'] = torch.randn(1000)
    state = convert(weights, '4g')['state_dict']
    assert torch.equal(state['head.aux_fc.weight'], weights['tklb_aux_head.weight'])
    assert torch.equal(state['head.aux_fc.bias'], weights['tklb_aux_head.bias'])


@pytest.mark.parametrize(('name', 'head'), [('glnet_stl', 'head.fc'), ('glit_tiny', 'head.layers.head')])
def test_other_numbers_of_classes(published, name, head):
    weights = dict(published(name).weights)
    weights['head.weight'], weights['head.bias'] = weights['head.weight'][:10], weights['head.bias'][:10]
    state = convert(weights, PRESET[name])['state_dict']
    assert torch.equal(state[f'{head}.weight'], weights['head.weight'])
    assert torch.equal(state[f'{head}.bias'], weights['head.bias'])


CHANGES = {
    'missing': (
        lambda state: state.pop('blocks.2.0.attn.qkv.weight'),
        r"GLiT checkpoint: against the nearest architecture, 'tiny', missing "
        r'backbone\.blocks\.2\.mixer\.attention\.qkv\.weight \(192, 64\)$',
    ),
    'surplus': (
        lambda state: state.update({'blocks.12.0.extra': torch.ones(2, 3), 'more': torch.ones(1)}),
        r"'tiny', surplus blocks\.12\.0\.extra \(2, 3\) and 1 more$",
    ),
    'shape': (
        lambda state: state.update({'norm.weight': torch.ones(96)}),
        r'missing backbone\.norm\.weight \(192,\) and surplus norm\.weight \(96,\)$',
    ),
    'transposed': (
        lambda state: state.update({'blocks.0.0.attn.proj.weight': torch.ones(96, 192)}),
        r'missing .*proj\.weight \(192, 96\) and surplus .*proj\.weight \(96, 192\)$',
    ),
    'head': (
        lambda state: [state.pop('head.weight'), state.pop('head.bias')],
        r'missing head\.layers\.head\.weight \(1000, 192\) and 1 more$',
    ),
    'ours': (
        lambda state: state.update({'backbone.norm.weight': torch.ones(192)}),
        r'surplus backbone\.norm\.weight \(192,\)$',
    ),
    'family': (
        lambda state: state.pop('blocks.0.0.norm1.weight'),
        r'not a released EfficientNetLite or GLiT or GLNet; it begins with cls_token \(1, 1, 192\) and \d+ more$',
    ),
}


@pytest.mark.parametrize('change', CHANGES)
def test_what_does_not_fit_is_named(published, change):
    weights = dict(published('glit_tiny').weights)
    edit, message = CHANGES[change]
    edit(weights)
    with pytest.raises(ValueError, match=message):
        convert(weights)


def test_two_tensors_for_one_place(published):
    """An FFN's second layer is ``mlp.2`` or ``mlp.3``, never both."""
    weights = dict(published('glnet_stl').weights)
    weights['stages.0.blocks.0.mlp.2.weight'] = weights['stages.0.blocks.0.mlp.3.weight']
    with pytest.raises(ValueError, match=r"'stl', surplus stages\.0\.blocks\.0\.mlp\.2\.weight \(96, 384, 1, 1\)$"):
        convert(weights, 'stl')


@pytest.fixture(scope='module')
def converted(published, tmp_path_factory):
    """``converted(name)``: a converted file of the published weights."""
    folder = tmp_path_factory.mktemp('converted')

    def get(name):
        target = folder / f'{name}.pth'
        if not target.exists():
            torch.save({'model': published(name).weights, 'epoch': 3}, folder / 'released.pth')
            meta = convert_file(folder / 'released.pth', target, arch=PRESET[name])
            assert meta['backbone'] == BACKBONE[name]
            (folder / 'released.pth').unlink()
        return target

    return get


@pytest.mark.parametrize('name', NAMES)
def test_file_holds_what_was_converted(published, converted, name):
    loaded = torch.load(converted(name), weights_only=True)
    expected = convert(published(name).weights, PRESET[name])
    assert loaded['meta'] == expected['meta']
    assert loaded['state_dict'].keys() == expected['state_dict'].keys()
    assert all(torch.equal(value, expected['state_dict'][key]) for key, value in loaded['state_dict'].items())
    assert [path.name for path in converted(name).parent.iterdir() if path.suffix != '.pth'] == []


def test_file_is_written_whole_or_not_at_all(published, converted, tmp_path, monkeypatch):
    source, target = tmp_path / 'source.pth', tmp_path / 'target.pth'
    torch.save(published('glit_tiny').weights, source)
    target.write_text('before')

    def fail(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='disk full'):
        convert_file(source, target)
    assert target.read_text() == 'before'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['source.pth', 'target.pth']


@pytest.mark.parametrize('name', ['glnet_stl', 'glit_tiny'])
def test_classifier_of_mmpretrain_gives_the_published_logits(published, converted, name):
    models = import_module('mmpretrain.registry').MODELS
    import_module('mmpretrain.models')
    neck, head = ({'type': 'GlobalAveragePooling'}, {'type': 'LinearClsHead', 'in_channels': 768})
    if name == 'glit_tiny':
        neck, head = None, {'type': 'VisionTransformerClsHead', 'in_channels': 192}
    config = {
        'type': 'ImageClassifier',
        'backbone': BACKBONE[name],
        'neck': neck,
        'head': {**head, 'num_classes': 1000},
    }
    classifier = models.build(config).eval()
    load_checkpoint(classifier, str(converted(name)), strict=True)
    with torch.no_grad():
        logits = classifier(published(name).images, mode='tensor')
    reference = published(name).outputs['logits']
    assert ((logits - reference).norm() / reference.norm()).item() < 1e-5


@pytest.fixture
def log():
    """The lines that MMEngine logs."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def initialised(host, checkpoint, backbone):
    """The backbone as the host builds and initialises it."""
    registry = import_module(f'{host}.registry').MODELS
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(checkpoint), 'prefix': 'backbone.'}
    with DefaultScope.overwrite_default_scope(host):
        built = registry.build({**backbone, 'init_cfg': init_cfg})
        built.init_weights()
    return built


@HOSTS
@pytest.mark.parametrize('name', ['glnet_4g', 'glit_tiny'])
def test_pretrained_backbone_in_every_host(converted, log, host, name):
    backbone = initialised(host, converted(name), BACKBONE[name])
    loaded = torch.load(converted(name), weights_only=True)['state_dict']
    expected = {key: value for key, value in loaded.items() if key.startswith('backbone.')}
    actual = backbone.state_dict(prefix='backbone.')
    assert actual.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in actual.items())
    assert not any('do not match' in line or 'missing' in line for line in log)


def test_log_would_tell_of_a_missing_tensor(converted, log, tmp_path):
    checkpoint = torch.load(converted('glit_tiny'), weights_only=True)
    del checkpoint['state_dict']['backbone.blocks.0.norm1.weight']
    torch.save(checkpoint, tmp_path / 'partial.pth')
    initialised('mmpretrain', tmp_path / 'partial.pth', BACKBONE['glit_tiny'])
    assert any('missing keys in source state_dict: blocks.0.norm1.weight' in line for line in log)
