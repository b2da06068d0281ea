"""Annotations, proposals and results are data: none of MMEngine's readers runs what they hold."""

import io
import os
import pickle
import resource
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mmengine
import numpy as np
import pytest
import torch
from fresh_python import run_tool
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData
from mmpretrain.registry import MODELS

from mmhybrid import data_files

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PICKLES, YAMLS = ('pkl', 'pickle'), ('yaml', 'yml')


class Code:
    """Whose pickle touches a file when it is read as one."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f'touch {self.trace}',)


@pytest.fixture
def trace(tmp_path: Path) -> Any:
    path = tmp_path / 'trace'
    yield path
    assert not path.exists()


def hostile(ending: str, trace: Path, protocol: int = 2) -> bytes:
    if ending in YAMLS:
        return f'metainfo: {{}}\ndata_list: !!python/object/apply:os.system ["touch {trace}"]\n'.encode()
    return pickle.dumps({'metainfo': {}, 'data_list': [Code(trace)]}, protocol)


@pytest.mark.parametrize('ending', [*PICKLES, *YAMLS])
def test_an_annotation_file_runs_nothing(tmp_path: Path, trace: Path, ending: str) -> None:
    path = tmp_path / f'ann.{ending}'
    path.write_bytes(hostile(ending, trace))
    named = 'posix.system' if ending in PICKLES else '!!python/object/apply:os.system in line 2'
    with pytest.raises(ValueError, match=rf'^{path}: .*{named}; read are ') as caught:
        BaseDataset(ann_file=str(path), pipeline=[])
    assert type(caught.value) is data_files.UnsafeDataError


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_tool_says_so_in_a_sentence(tmp_path: Path, trace: Path, tool: str) -> None:
    (tmp_path / 'ann.pkl').write_bytes(hostile('pkl', trace))
    (tmp_path / 'c.py').write_text(
        "_base_ = ['mmhybrid::demo/glnet_cls.py']\n"
        "data = dict(_delete_=True, type='BaseDataset', ann_file='ann.pkl', pipeline=[])\n"
        'loader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=data)\n'
        'train_dataloader = val_dataloader = test_dataloader = loader\n'
    )
    weights = [] if tool == 'train' else ['w.pth']
    if weights:
        model = MODELS.build(Config.fromfile(tmp_path / 'c.py').model)
        torch.save({'state_dict': model.state_dict()}, tmp_path / 'w.pth')
    (done,) = run_tool(tool, 'c.py', *weights, cwd=tmp_path)
    assert done.returncode == 2
    assert 'ann.pkl: a pickle that names posix.system; read are dicts' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('read', [mmengine.load, data_files.load], ids=['mmengine', 'module'])
def test_each_protocol_is_refused(read: Callable[..., Any], trace: Path, protocol: int) -> None:
    keywords = {'file_format': 'pkl'} if read is mmengine.load else {}
    with pytest.raises(ValueError, match=r'names posix\.system'):
        read(io.BytesIO(hostile('pkl', trace, protocol)), **keywords)


VALUES = {
    'plain': {
        'a': [1, 2.5, 1 + 2j, 10**30, None, True],
        'b': ('t', b'', b'\xff', bytearray(b'x')),
        3: {1},
        4: frozenset({2}),
    },
    'ordered': OrderedDict(z=1, a=[OrderedDict()]),
    'numbers': [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_('ä'), np.complex64(1j), np.str_('')],
    'keys': {np.int64(5): np.arange(3), ('a', np.int64(1)): 1},
    'arrays': [np.arange(6).astype(dtype).reshape(2, 3) for dtype in ('<i8', '>i4', '<f2', '>f8', 'u1', '?', 'c16')],
    'shapes': [np.zeros(()), np.zeros((0, 4)), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(9.0)[::2]],
    'texts': [np.array(['a', 'bcd']), np.array([b'a', b'bc']), np.array(['a'], '>U2')],
    'objects': np.array([None, [np.arange(2)], {'a': np.ones(1)}, 'x'], object),
    'types': [np.dtype('>f4'), np.dtype('U3')],
}


def same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        order = left.flags.f_contiguous == right.flags.f_contiguous
        if left.dtype.hasobject:
            return left.shape == right.shape and all(map(same, left.ravel(), right.ravel()))
        return left.dtype == right.dtype and order and right.flags.writeable and np.array_equal(left, right)
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return all(map(same, left, right)) and all(map(same, left.values(), right.values())) and len(left) == len(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('name', VALUES)
def test_data_are_read_as_pickle_reads_them(name: str, protocol: int) -> None:
    data = pickle.dumps(VALUES[name], protocol)
    assert same(pickle.loads(data), data_files.loads(data))  # noqa: S301


def test_what_is_shared_stays_shared() -> None:
    array: Any = np.arange(3)
    ring: Any = [array, {'again': array}]
    ring.append(ring)
    read = data_files.loads(pickle.dumps(ring))
    assert read[0] is read[1]['again']
    assert read[2] is read


@pytest.mark.dense
@pytest.mark.parametrize('protocol', PROTOCOLS[2:])  # MMEngine writes 2, Python 5
def test_masks_and_boxes_of_mmdetection_are_read(protocol: int) -> None:
    """Which MMDetection leaves in the results that ``tools/test.py --out`` writes."""
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    bitmaps = BitmapMasks(np.arange(12, dtype=np.uint8).reshape(2, 2, 3) % 2, 2, 3)
    polygons = PolygonMasks([[np.array([0.0, 0, 2, 0, 2, 1])], []], 2, 3)
    boxes = HorizontalBoxes(torch.tensor([[0.0, 1, 2, 3]]))
    for value in (bitmaps, polygons, boxes, [InstanceData(masks=bitmaps, bboxes=HorizontalBoxes(torch.ones(2, 4)))]):
        data = pickle.dumps(value, protocol)
        read, expected = data_files.loads(data), pickle.loads(data)  # noqa: S301
        assert type(read) is type(expected)
        if not isinstance(value, list):
            assert vars(read).keys() == vars(expected).keys()
            assert all(map(same, vars(read).values(), vars(expected).values()))
    wrong = {'masks': 'x', 'height': 1, 'width': 1}, {'masks': [['x']], 'height': 1, 'width': 1}, {'tensor': 'x'}
    for value, state in zip((bitmaps, polygons, boxes), wrong, strict=True):
        value.__dict__.update(state)
        with pytest.raises(data_files.UnsafeDataError, match='no pickle of data, or damaged'):
            data_files.loads(pickle.dumps(value, protocol))


def test_proposals_and_results_are_read(tmp_path: Path) -> None:
    """What MMDetection's DumpProposals and MMEngine's DumpResults write."""
    proposals = InstanceData(metainfo={'img_id': 3})
    proposals.bboxes, proposals.scores = np.ones((2, 4), np.float32), np.zeros(2, np.float32)
    base = torch.arange(12.0).reshape(3, 4)
    results = [{'pred_score': base[1:, ::2], 'half': torch.ones(2, dtype=torch.bfloat16), 'no': torch.zeros(0, 4)}]
    mmengine.dump({'coco/a.jpg': proposals, 'results': results}, tmp_path / 'p.pkl')
    read = mmengine.load(tmp_path / 'p.pkl')
    found = read['coco/a.jpg']
    assert type(found) is InstanceData
    assert found.img_id == 3
    assert found.bboxes.dtype == np.float32
    assert found[:1].bboxes.tolist() == [[1.0] * 4]
    assert same(results, read['results'])


HOSTILE = {
    'objects over bytes': (np.ndarray, (0,), b'b', (1, (2,), np.dtype('O'), False, b'\x41' * 16)),
    'more than there is': (np.ndarray, (0,), b'b', (1, (2**40,), np.dtype('f8'), False, b'\0' * 8)),
    'a negative shape': (np.ndarray, (0,), b'b', (1, (-5, -1), np.dtype('f8'), False, b'\0' * 8)),
}


class _Crafted:
    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        *made, state = self.parts
        return np.zeros(1).__reduce__()[0], tuple(made), state


@pytest.mark.parametrize('name', HOSTILE)
def test_arrays_hold_their_values_alone(name: str) -> None:
    with pytest.raises(ValueError, match='no pickle of data, or damaged'):
        data_files.loads(pickle.dumps(_Crafted(HOSTILE[name])))


def test_flags_of_a_type_of_numbers_are_not_taken() -> None:
    """NumPy's own would call the numbers objects, and follow them as addresses."""
    plain = pickle.dumps(np.array([4702111234474983745, 4702111234474983745]), 2)
    flags = b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t'
    assert flags in plain
    crafted = plain.replace(flags, flags.replace(b'K\x00', b'K\x3f'))
    assert data_files.loads(crafted).tolist() == [4702111234474983745] * 2


@pytest.mark.parametrize(
    'data',
    [
        b'', b'\x80\x04.', pickle.dumps([1])[:-2], pickle.dumps(np.ndarray), b'(' * 9 + b'.',
        b'cnumpy\ndtype\n}S"a"\nK\x01sb.', b'cmmengine.structures.instance_data\nInstanceData\n}b.',
        b'cnumpy\ndtype\n(NS"M8"\ntR.', b'cnumpy\ndtype\n(S"f4,f4"\ntR.', b'cbuiltins\nbytearray\n(I1000000000000\ntR.',
        b']' * 100000 + b'a' * 99999 + b'cnumpy\ndtype\n0.',
    ],
)  # fmt: skip
def test_damaged_pickles_are_told(data: bytes) -> None:
    with pytest.raises(data_files.UnsafeDataError, match='no pickle of data, or damaged'):
        data_files.loads(data)


def test_configs_and_annotations_in_yaml_are_read(tmp_path: Path) -> None:
    cfg = Config({'model': {'size': (1, 2), 'deep': [((1.5, 'a'),)], 'on': True, 'none': None, 'text': 'ä: #'}})
    cfg.dump(tmp_path / 'c.yaml')
    assert '!!python/tuple' in (tmp_path / 'c.yaml').read_text()
    assert Config.fromfile(tmp_path / 'c.yaml').to_dict() == cfg.to_dict()
    data = {'metainfo': {'classes': ['a']}, 'data_list': [{'img_path': 'a.jpg', 'gt_label': 0}] * 2}
    mmengine.dump(data, tmp_path / 'ann.yml')
    assert len(BaseDataset(ann_file=str(tmp_path / 'ann.yml'), pipeline=[])) == 2


@pytest.mark.parametrize(
    'tag', ['python/name:os.system', 'python/module:os', 'python/object/new:os.system', 'python/object:os.x']
)
@pytest.mark.parametrize('read', [mmengine.load, Config.fromfile], ids=['data', 'config'])
def test_no_tag_names_code(tmp_path: Path, read: Callable[..., Any], tag: str) -> None:
    path = tmp_path / 'a.yaml'
    path.write_text(f'a: !!{tag} []\n')
    with pytest.raises(ValueError, match=f'the tag !!{tag}'):
        read(str(path))


def write_cifar(folder: Path, content: dict[str, Any]) -> None:
    """The files of CIFAR-10 as MMPretrain looks for them, of protocol 2 as the published ones."""
    from mmpretrain.datasets import CIFAR10

    base = folder / CIFAR10.base_folder
    base.mkdir(parents=True)
    for name, _ in [*CIFAR10.train_list, *CIFAR10.test_list]:
        (base / name).write_bytes(pickle.dumps(content, 2))


@pytest.fixture
def unchecked_cifar(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmpretrain.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, '_check_integrity', lambda self: True)


@pytest.mark.usefixtures('unchecked_cifar')
def test_cifar_is_read_and_runs_nothing(tmp_path: Path, trace: Path) -> None:
    from mmpretrain.datasets import CIFAR10

    images = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    for folder, content in (('good', {'data': images, 'labels': [1, 2]}), ('bad', {'data': Code(trace)})):
        write_cifar(tmp_path / folder, content)
    dataset = CIFAR10(data_root=str(tmp_path / 'good'), split='test')
    assert dataset.get_data_info(1)['img'].transpose(2, 0, 1).ravel().tolist() == images[1].tolist()
    assert dataset.get_data_info(1)['gt_label'] == 2
    with pytest.raises(ValueError, match=r'names posix\.system'):
        CIFAR10(data_root=str(tmp_path / 'bad'), split='test')


@pytest.mark.dense
def test_volumes_and_trees_of_classes_run_nothing(tmp_path: Path, trace: Path) -> None:
    from mmdet.datasets import openimages
    from mmseg.utils.io import datafrombytes

    volume = np.arange(8.0).reshape(2, 2, 2)
    assert datafrombytes(pickle.dumps(volume), 'pickle').tolist() == volume.tolist()
    read_tree = openimages.OpenImagesChallengeDataset._get_relation_matrix
    self: Any = SimpleNamespace(backend_args=None)
    tree, path = np.arange(9.0).reshape(3, 3), tmp_path / 'tree.np'
    for write in (lambda: np.save(path.open('wb'), tree), lambda: tree.dump(path)):
        write()
        assert read_tree(self, str(path)).tolist() == tree[1:, 1:].tolist()
    for data in (hostile('pkl', trace), npy_of(np.array([Code(trace)], object))):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r'tree\.np: '):
            read_tree(self, str(path))
    with pytest.raises(ValueError, match=r'names posix\.system'):
        datafrombytes(hostile('pkl', trace), 'pickle')


def npy_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def doubled(depth: int) -> bytes:
    """A tuple of two times a tuple of two times ..., in two bytes a level."""
    return b'K\x01\x85' + b'2\x86' * depth


LONG = b'X' + (10**6).to_bytes(4, 'little') + b'a' * 10**6
ARRAY = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01I1000000\n\x85'
GREEDY = {
    'a key': b'\x80\x04}' + doubled(40) + b'K\x01s.',
    'keys': b'\x80\x04}(' + doubled(40) + b'K\x01u.',
    'a dict of protocol 0': b'(' + doubled(40) + b'K\x01d.',
    'items of a set': b'\x80\x04\x8f(' + doubled(40) + b'\x90.',
    'a frozen set': b'\x80\x04(' + doubled(40) + b'\x91.',
    'a set of protocol 2': b'cbuiltins\nset\n](' + doubled(40) + b'e\x85R.',
    'an ordered dict': b'ccollections\nOrderedDict\n(](](' + doubled(40) + b'K\x01eetR.',
    'the code of a type': b'cnumpy\ndtype\n' + doubled(40) + b'\x85R.',
    'the shape of an array': ARRAY[:-12] + doubled(40) + b'NI00\nC\x00tb.',
    'bytes as many arrays': b'C\x00q\x000B' + (10**6).to_bytes(4, 'little') + b'\1' * 10**6 + b'q\x010]('
    b'cnumpy\ndtype\nC\x02i1\x85R(K\x03C\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbq\x02'
    + (ARRAY + b'h\x02I00\nh\x01tb') * 2000 + b'e.',
    'keys of one hash': b'\x80\x04}(' + b''.join(b'\x8a\x0b' + (n * (2**61 - 1)).to_bytes(11, 'little') + b'N'
    for n in range(1, 10**5)) + b'u.',
    'a bytearray': b'\x80\x05\x96' + (2**40).to_bytes(8, 'little') + b'.',
    'names of fields': b'\x80\x04cmmengine.structures.instance_data\nInstanceData\n)\x81}('
    + b'X\x0c\x00\x00\x00_data_fields](' + doubled(40) + doubled(40) + b'eX\x10\x00\x00\x00_metainfo_fields]ub.',
    'a tensor that is split without end': b'',
}  # fmt: skip


def split_tensor() -> bytes:
    """One storage, of which each of a thousand tensors has a copy."""
    file, size = io.BytesIO(), 10**6
    torch.save(torch.zeros(size, dtype=torch.uint8).storage(), file, _use_new_zipfile_serialization=False)
    stored = b'B' + len(file.getvalue()).to_bytes(4, 'little') + file.getvalue()
    tensor = b'ctorch._utils\n_rebuild_tensor_v2\n(h\x05K\x00J' + size.to_bytes(4, 'little') + b'\x85K\x01\x85\x89}tR'
    return b'\x80\x04ctorch.storage\n_load_from_bytes\n' + stored + b'\x85Rq\x05](' + tensor * 1000 + b'e.'


@pytest.mark.parametrize('name', GREEDY)
def test_no_pickle_takes_more_than_it_is_long(name: str) -> None:
    data = GREEDY[name] or split_tensor()
    held_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(data_files.UnsafeDataError, match='no pickle of data, or damaged') as caught:
        data_files.loads(data)
    assert len(str(caught.value)) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held_before < 400_000


def test_a_number_of_the_memo_takes_no_memory() -> None:
    held_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert data_files.loads(b'\x80\x04Nr' + (10**8).to_bytes(4, 'little') + b'.') is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held_before < 100_000


def test_annotations_are_not_refused_for_their_number() -> None:
    many = {'data_list': [{'img_path': f'{n}.jpg', 'boxes': np.ones((1, 4)), 'size': (1, n)} for n in range(20_000)]}
    assert data_files.loads(pickle.dumps(many, 2))['data_list'][-1]['size'] == (1, 19_999)
    ids = {np.int64(n): n for n in range(20_000)}
    assert data_files.loads(pickle.dumps(ids)) == ids


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('a0: &a0 !!python/tuple [1]\n' + ''.join(f'a{i}: &a{i} !!python/tuple [*a{i - 1}, *a{i - 1}]\n'
         for i in range(1, 45)) + '? *a44\n: 1\n', 'a key in line 45 that is not text, a number or a date'),
        ('a: !!set {? !!python/tuple [1]}', 'a key in line 1 that is not text'),
        ('a: ' + ':'.join('1' * 10**6), r'a number of 1999999 characters in line 1, allowed: at most 400'),
        ('a: ' + ':'.join('1' * 10**6) + '.5', r'a number of 2000001 characters in line 1, allowed: at most 400'),
        (f'a: 0\n{hex(2**61)}: 1', 'a key in line 1 that is a number beyond all counts'),
        ('a: &a {' + ', '.join(f'k{n}: 1' for n in range(2000)) + '}\n'
         + ''.join(f'b{n}: {{<<: *a}}\n' for n in range(2000)), 'more than 1048576 entries by << in line 52'),
    ],
    ids=['tuple', 'set', 'int', 'float', 'hash', 'merged'],
)  # fmt: skip
def test_no_yaml_takes_more_than_it_is_long(text: str, told: str) -> None:
    with pytest.raises(data_files.UnsafeDataError, match=told):
        data_files.load_yaml(io.StringIO(text))
