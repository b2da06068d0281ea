"""Where torch is too old to be told of MMEngine's classes, checkpoints are read as a newer one reads them.

Both readers run here: with a newer torch, its own says what the content is.
"""

import io
import pickle
from collections import Counter, OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from test_released import FORMATS, NUM_PAYLOADS, Call, legacy_of, payloads, save, zip_of
from torch import nn

import mmhybrid  # noqa: F401
from mmhybrid.models import restricted
from mmhybrid.models.restricted import read_restricted


def training_state():
    """What MMEngine's runner saves."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 16, 2))
    network[3].weight.data = network[3].weight.data.bfloat16()
    tied = network[0].weight
    optimizer = torch.optim.AdamW(network.parameters())
    network[:3](torch.ones(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    hub = MessageHub('restricted')
    hub.update_scalar('train/loss', 0.5)
    hub.update_scalar('train/loss', 0.25, 3)
    hub.update_info('best', np.float64(0.1))
    hub.update_info('numbers', [np.arange(6, dtype='i4').reshape(2, 3).T, np.zeros((0, 2), bool), np.int64(-3)])
    hub.update_info('shape', (torch.Size([2, 3]), torch.float16, torch.device('cpu'), 1 << 70, b'bytes', None))
    return {
        'meta': {'epoch': 1, 'time': 'now'},
        'state_dict': network.state_dict(),
        'ema_state_dict': {'module.weight': tied.detach(), 'view': tied.detach()[1:].transpose(0, 1)},
        'message_hub': hub.state_dict(),
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [OrderedDict(last_step=2), {'milestones': Counter({3: 2, 5: 1})}, Counter()],
    }


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
        assert getattr(found, '_metadata', None) == getattr(expected, '_metadata', None)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, torch.Tensor):
        assert (found.dtype, found.stride(), found.device) == (expected.dtype, expected.stride(), expected.device)
        assert torch.equal(found, expected)
    elif isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, HistoryBuffer):
        for part in ('max_length', '_log_history', '_count_history'):
            assert_same(vars(found)[part], vars(expected)[part])
    else:
        assert found == expected


@FORMATS
def test_all_of_a_checkpoint_comes_back(tmp_path, as_zip):
    content = training_state()
    path = save(content, tmp_path / 'epoch_1.pth', as_zip)
    assert_same(read_restricted(str(path), 'cpu'), content)
    assert_same(read_restricted(str(path), lambda storage, location: storage), content)


@FORMATS
@pytest.mark.torch_since(2, 6)
def test_a_newer_torch_reads_the_same(tmp_path, as_zip):
    path = save(training_state(), tmp_path / 'epoch_1.pth', as_zip)
    assert_same(read_restricted(str(path), 'cpu'), torch.load(path, map_location='cpu', weights_only=True))


def test_history_goes_on(tmp_path):
    content = training_state()
    hub = MessageHub('resumed')
    hub.load_state_dict(read_restricted(str(save(content, tmp_path / 'epoch_1.pth')), None)['message_hub'])
    hub.update_scalar('train/loss', 1.0)
    assert hub.get_scalar('train/loss').data[0].tolist() == [0.5, 0.25, 1.0]
    assert hub.get_scalar('train/loss').min() == 0.25


def test_tensors_of_one_storage_stay_so(tmp_path):
    whole = torch.arange(4.0)
    found = read_restricted(str(save({'a': whole, 'b': whole[2:]}, tmp_path / 'a.pth')), 'cpu')
    found['a'][3] = 7
    assert found['b'].tolist() == [2, 7]


def test_tensors_go_where_they_are_wanted(tmp_path):
    path = str(save({'a': torch.ones(3)}, tmp_path / 'a.pth'))
    assert read_restricted(path, 'meta')['a'].is_meta
    assert read_restricted(path, {'cpu': 'meta'})['a'].is_meta


@pytest.mark.parametrize('pack', [zip_of, legacy_of])
@pytest.mark.parametrize('index', range(NUM_PAYLOADS))
def test_nothing_that_a_pickle_names_is_run(tmp_path, pack, index):
    marker = tmp_path / 'marker'
    payload = list(payloads(marker))[index]
    pickle.Unpickler(io.BytesIO(payload)).load()  # noqa: S301
    assert marker.exists(), 'the attack must be one'
    marker.unlink()
    with pytest.raises(pickle.UnpicklingError):
        read_restricted(str(pack(tmp_path / 'file.pth', payload)), 'cpu')
    assert not marker.exists()


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (Path('/'), r'GLOBAL pathlib\S*\.Pos\w*Path is not what a checkpoint needs'),
        (Call(getattr, HistoryBuffer, 'update'), 'may only take min, max, current, mean of HistoryBuffer'),
        (Call(getattr, np.ndarray, 'tofile'), 'may only take'),
        (np.array([Call(print)], dtype=object), 'GLOBAL builtins.print is not'),
        (np.array([None], dtype=object), 'an array of'),
        (np.array(['text']), 'an array of'),
        (np.zeros(1, 'f4,i4'), 'an array of'),
        (HistoryBuffer, 'which is not a value'),
        (np.ndarray, 'which is not a value'),
        (Counter, 'which is not a value'),
        (torch.ones(4).expand(3, 4).to_sparse(), 'GLOBAL torch._utils._rebuild_sparse_tensor is not'),
    ],
)
def test_what_is_no_value_is_refused(tmp_path, content, problem):
    with pytest.raises(pickle.UnpicklingError, match=problem):
        read_restricted(str(save({'meta': content}, tmp_path / 'a.pth')), 'cpu')


def test_a_buffer_has_no_other_parts(tmp_path):
    buffer = HistoryBuffer()
    buffer.update_ = 3
    with pytest.raises(pickle.UnpicklingError, match='history buffer with other parts'):
        read_restricted(str(save({'a': buffer}, tmp_path / 'a.pth')), 'cpu')


NAMES = {kind: f'{module}\n{name}' for (module, name), kind in restricted._NAMES.items()}


@pytest.mark.parametrize('name', NAMES.values())
@pytest.mark.parametrize('state', [b'}', b'(N}t', b'(}(S"mean"\nI1\nut', b'(N}(S"value"\nI1\nut'])
def test_state_given_to_a_class_changes_nothing(tmp_path, name, state):
    """BUILD sets attributes; given a class instead of an object it must reach none."""
    held = [value for value in restricted._NAMES.values() if hasattr(value, '__dict__')]
    before = [dict(vars(value)) for value in (*held, HistoryBuffer)]
    with suppress(pickle.UnpicklingError, ValueError):
        read_restricted(str(zip_of(tmp_path / 'file.pth', b'c' + name.encode() + b'\n' + state + b'b.')), 'cpu')
    assert [dict(vars(value)) for value in (*held, HistoryBuffer)] == before


@FORMATS
def test_damaged_files_are_refused(tmp_path, as_zip):
    whole = save(training_state(), tmp_path / 'file.pth', as_zip).read_bytes()
    path = tmp_path / 'damaged.pth'
    for damaged in (b'', b'weights', whole[: len(whole) // 2], whole[:100]):
        path.write_bytes(damaged)
        with pytest.raises(pickle.UnpicklingError):
            read_restricted(str(path), 'cpu')


@FORMATS
@pytest.mark.parametrize(('offset', 'size'), [(0, (5,)), (2, (3,)), (-1, (2,)), (0, ('4',))])
def test_tensor_beyond_its_storage_is_refused(tmp_path, as_zip, offset, size):
    arguments = (torch.ones(4)._typed_storage(), offset, size, (1,), False, OrderedDict())
    path = save({'w': Call(torch._utils._rebuild_tensor_v2, *arguments)}, tmp_path / 'file.pth', as_zip)
    with pytest.raises(pickle.UnpicklingError, match='no file of torch, or damaged'):
        read_restricted(str(path), 'cpu')


@FORMATS
@pytest.mark.parametrize(
    ('size', 'stride', 'is_whole'),
    [((0,), (1,), True), ((0, 3), (3, 1), True), ((1,), (1,), False), ((2, 2), (0, 0), False), ((10**9,), (1,), False)],
)
def test_a_storage_without_bytes_has_no_values(tmp_path, as_zip, size, stride, is_whole):
    """Torch would enlarge it, by memory of this process as it is."""
    arguments = (torch.ones(0)._typed_storage(), 0, size, stride, False, OrderedDict())
    path = save({'w': Call(torch._utils._rebuild_tensor_v2, *arguments)}, tmp_path / 'file.pth', as_zip)
    if is_whole:
        assert read_restricted(str(path), 'cpu')['w'].shape == size
    else:
        with pytest.raises(pickle.UnpicklingError, match='a tensor of the shape'):
            read_restricted(str(path), 'cpu')


def test_arrays_keep_their_byte_order(tmp_path):
    """Torch itself takes their bytes for little-endian ones."""
    array = np.arange(3, dtype='>i4')
    assert_same(read_restricted(str(save({'a': array}, tmp_path / 'a.pth')), 'cpu')['a'], array)
