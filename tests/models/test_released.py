"""Reading released files: the tensors come out as saved, and nothing that a file names is imported or run."""

import argparse
import io
import os
import pickle
import random
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmhybrid.models import pickles, released
from mmhybrid.models.pickles import Inert, StoredDict, StoredTensor
from mmhybrid.models.released import read_released

FORMATS = pytest.mark.parametrize('as_zip', [True, False], ids=['zip', 'legacy'])
DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def save(content, path, as_zip=True):
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def assert_same(loaded, state):
    assert list(loaded) == list(state)
    for name, value in state.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value), name


@pytest.fixture
def dict_config(monkeypatch):
    """An object that pickles as omegaconf's DictConfig does; the package is gone once it is pickled."""
    modules = {}
    monkeypatch.setitem(sys.modules, 'omegaconf', types.ModuleType('omegaconf'))
    for module, name in [('dictconfig', 'DictConfig'), ('base', 'ContainerMetadata'), ('nodes', 'AnyNode')]:
        full = f'omegaconf.{module}'
        modules[full] = types.ModuleType(full)
        setattr(modules[full], name, type(name, (), {'__module__': full}))
        monkeypatch.setitem(sys.modules, full, modules[full])
    config = modules['omegaconf.dictconfig'].DictConfig()
    metadata, node = modules['omegaconf.base'].ContainerMetadata(), modules['omegaconf.nodes'].AnyNode()
    metadata.__dict__ = {'ref_type': dict, 'key_type': type(None), 'element_type': object}
    node.__dict__ = {'_val': 0.3, '_parent': config}
    config.__dict__ = {'_metadata': metadata, '_parent': None, '_content': {'drop_path': node}}
    return config


@FORMATS
def test_released_file_with_optimizer_and_args(tmp_path, as_zip, dict_config, monkeypatch):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    content = {
        'model': OrderedDict((f'module.{name}', value) for name, value in model.state_dict().items()),
        'optimizer': optimizer.state_dict(),
        'epoch': 299,
        'scaler': {'scale': np.float64(2.0), 'history': np.zeros(3)},
        'args': argparse.Namespace(output=Path('out'), generator=random.Random(0), lr=1e-3),
        'cfg': dict_config,
    }
    path = save(content, tmp_path / 'released.pth', as_zip)
    for name in [name for name in sys.modules if name.startswith('omegaconf')]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert_same(read_released(path), model.state_dict())
    assert not any(name.startswith('omegaconf') for name in sys.modules)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), as_zip=st.booleans())
def test_any_tensors_come_out_as_saved(tmp_path_factory, data, as_zip):
    """Also views: transposed, strided, with an offset, several of one storage."""
    state = {}
    for i in range(data.draw(st.integers(1, 4))):
        shape = data.draw(st.lists(st.integers(1, 4), max_size=4))
        base = torch.randint(0, 2, [*shape, 5]).to(data.draw(st.sampled_from(DTYPES)))
        state[f'{i}.view'] = base[..., data.draw(st.integers(0, 4))].movedim(0, -1) if shape else base[2]
        state[f'{i}.base'] = base
    path = save(state, tmp_path_factory.mktemp('any') / 'state.pth', as_zip)
    loaded = read_released(path)
    assert_same(loaded, state)
    assert all(value.is_contiguous() for value in loaded.values())


@FORMATS
def test_parameters_and_empty_tensors(tmp_path, as_zip):
    state = {'parameter': nn.Parameter(torch.ones(2)), 'empty': torch.empty(0, 3)}
    loaded = read_released(save(state, tmp_path / 'state.pth', as_zip))
    assert torch.equal(loaded['parameter'], torch.ones(2))
    assert not loaded['parameter'].requires_grad
    assert loaded['empty'].shape == (0, 3)


@pytest.mark.parametrize(
    ('content', 'key', 'expected'),
    [
        ({'model_ema': 2, 'model': 1}, None, 1),
        ({'model_ema': 2, 'model': 1}, 'model_ema', 2),
        ({'model_ema': 2, 'epoch': 3}, None, 2),
        ({'state_dict': 4, 'epoch': 3}, None, 4),
        ({'best': 5, 'model': 1}, 'best', 5),
    ],
)
def test_choice_of_the_state_dict(tmp_path, content, key, expected):
    file = {name: {'weight': torch.tensor(value)} for name, value in content.items()}
    assert read_released(save(file, tmp_path / 'file.pth'), key)['weight'] == expected


@pytest.mark.parametrize(
    ('content', 'key', 'message'),
    [
        ({'model': {'w': torch.ones(1)}}, 'ema', "key: got 'ema', allowed: one of \\['model'\\]"),
        ({'model': {'w': 3}}, None, "the entry 'w' is not a tensor"),
        ({'model': {'w': torch.ones(1), 'args': argparse.Namespace()}}, None, "the entry 'args' is not a tensor"),
        ({'w': torch.ones(1), 'module.w': torch.ones(1)}, None, "'w' is there with and without"),
        ({'model': {}}, None, 'model holds no dict of tensors'),
        ({'model': argparse.Namespace()}, None, 'model holds no dict of tensors'),
        ({'epoch': 3}, None, "the entry 'epoch' is not a tensor"),
        ([torch.ones(1)], None, 'expected a dict of tensors'),
        (argparse.Namespace(model=1), None, 'expected a dict of tensors'),
    ],
)
def test_file_without_a_state_dict_is_refused(tmp_path, content, key, message):
    with pytest.raises(ValueError, match=message):
        read_released(save(content, tmp_path / 'file.pth'), key)


@FORMATS
def test_damaged_files_are_refused(tmp_path, as_zip):
    whole = save(network().state_dict(), tmp_path / 'file.pth', as_zip).read_bytes()
    for damaged in (b'', b'weights', whole[: len(whole) // 2], whole[:100], pickle.dumps({'model': 1})):
        path = tmp_path / 'damaged.pth'
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r'damaged\.pth'):
            read_released(path)


class Call:
    """Pickles as ``function(*args)``; callable itself, so that calls nest."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args

    def __call__(self): ...


@FORMATS
@pytest.mark.parametrize(('offset', 'size'), [(0, (5,)), (2, (3,)), (-1, (2,)), (0, ('4',))])
def test_tensor_beyond_its_storage_is_refused(tmp_path, as_zip, offset, size):
    tensor = Call(
        torch._utils._rebuild_tensor_v2, torch.ones(4)._typed_storage(), offset, size, (1,), False, OrderedDict()
    )
    path = save({'model': {'w': tensor}}, tmp_path / 'file.pth', as_zip)
    with pytest.raises(ValueError, match='damaged tensor'):
        read_released(path)


def write_marker(path):
    Path(path).touch()


def attacks(marker):
    """Objects that create the file ``marker`` when they are unpickled."""
    touch, code = f'touch {marker}', f'open({str(marker)!r}, "w").close()'
    system = Call(getattr, Call(__import__, 'os'), 'system')
    yield Call(os.system, touch)
    yield Call(eval, code)
    yield Call(exec, code)
    yield Call(write_marker, str(marker))
    yield Call(system, touch)
    yield Call(Call(getattr, Call(getattr, Call(__import__, 'shutil'), 'os'), 'system'), touch)
    yield {Call(os.system, touch): 1}
    yield OrderedDict([('w', Call(eval, code))])
    yield Call(list, Call(map, eval, [code]))
    yield Call(pickle.loads, pickle.dumps(Call(os.system, touch)))


def raw_attacks(marker):
    """Pickles that no pickler writes: old and rare ways to name and call a function."""
    touch = f'touch {marker}'
    yield f'cposix\nsystem\n(S{touch!r}\ntR.'.encode()
    yield f'(S{touch!r}\nios\nsystem\n.'.encode()
    yield f'(cos\nsystem\nS{touch!r}\no.'.encode()
    yield b'\x80\x04\x8c\x02os\x8c\x0epath.os.system\x93' + pickle.dumps(touch, 4)[2:-1] + b'\x85R.'


def zip_of(path, payload):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', payload)
    return path


def legacy_of(path, payload):
    head = b''.join(pickle.dumps(value, 2) for value in (released._LEGACY_MAGIC, 1001, {}))
    path.write_bytes(head + payload + pickle.dumps([], 2))
    return path


def payloads(marker):
    yield from (pickle.dumps(attack, 2) for attack in attacks(marker))
    yield from raw_attacks(marker)


NUM_PAYLOADS = len(list(payloads('marker')))


@pytest.mark.parametrize('pack', [zip_of, legacy_of])
@pytest.mark.parametrize('index', range(NUM_PAYLOADS))
def test_malicious_pickle_does_not_run(tmp_path, pack, index):
    marker = tmp_path / 'marker'
    payload = list(payloads(marker))[index]
    pickle.Unpickler(io.BytesIO(payload)).load()  # noqa: S301
    assert marker.exists(), 'the attack must be one'
    marker.unlink()
    with pytest.raises(ValueError, match='checkpoint'):
        read_released(pack(tmp_path / 'file.pth', payload))
    assert not marker.exists()


def test_malicious_args_leave_the_weights_readable(tmp_path):
    marker = tmp_path / 'marker'
    content = {'model': {'w': torch.ones(2)}, 'args': list(attacks(marker))}
    loaded = read_released(save(content, tmp_path / 'file.pth'))
    assert torch.equal(loaded['w'], torch.ones(2))
    assert not marker.exists()


def test_nothing_is_imported(tmp_path, monkeypatch):
    (tmp_path / 'booby_trap.py').write_text('def anything(): ...')
    monkeypatch.syspath_prepend(tmp_path)
    payload = b'cbooby_trap\nanything\n)R.'
    with pytest.raises(ValueError, match='single object'):
        read_released(zip_of(tmp_path / 'file.pth', payload))
    assert 'booby_trap' not in sys.modules
    pickle.loads(payload)  # noqa: S301
    assert sys.modules.pop('booby_trap')


@pytest.mark.parametrize(
    'name',
    [
        'torch._utils\n_rebuild_tensor_v2',
        'torch._tensor\n_rebuild_from_type_v2',
        'numpy\nndarray',
        'collections\nOrderedDict',
        'os\nsystem',
    ],
)
@pytest.mark.parametrize('state', [b'}', b'(N}t', b'(}(S"__init__"\ncbuiltins\neval\nu}t', b'(N}(S"load"\nI1\nut'])
def test_state_given_to_a_class_changes_nothing(tmp_path, name, state):
    """BUILD sets attributes; given a class instead of an object it must not reach ours."""
    classes = (StoredTensor, StoredDict, Inert, pickles.StoredSubclass, pickles._Uncallable)
    before = [dict(vars(cls)) for cls in classes]
    with pytest.raises(ValueError, match='checkpoint'):
        read_released(zip_of(tmp_path / 'file.pth', b'c' + name.encode() + b'\n' + state + b'b.'))
    assert [dict(vars(cls)) for cls in classes] == before


@pytest.mark.parametrize('opcodes', [b')R', b')R)R)R', b')\x81', b')R}b', b')R)\x81', b')R(I1\nI2\ne', b')RI1\nI2\ns'])
def test_placeholder_takes_whatever_is_done_to_it(opcodes):
    """Called, built (of what a call gave too), given state, extended, indexed: it stays a placeholder."""
    value = pickles.Reader(io.BytesIO(b'cos\nsystem\n' + opcodes + b'.')).load()
    assert type(value) is Inert
    assert vars(value) == {}


@pytest.mark.parametrize('size', [b'(J\x00\xca\x9a;X\x01\x00\x00\x00at', b'(J\x00\xca\x9a;K\x01\x85t'])
def test_sizes_of_a_tensor_are_ints(tmp_path, size):
    """The product of 10**9 and a text is a text of a gigabyte."""
    storage = b'(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ'
    tensor = b'ctorch._utils\n_rebuild_tensor_v2\n(' + storage + b'K\x00' + size + b'K\x01\x85\x89}tR'
    with pytest.raises(ValueError, match='a tensor whose sizes are not ints'):
        read_released(zip_of(tmp_path / 'file.pth', b'}X\x01\x00\x00\x00a' + tensor + b's.'))
