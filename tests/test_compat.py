"""Each fix is shown twice, in processes without and with mmhybrid: the failure, and what works."""

import io
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from fresh_python import run_python
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, checkpoint

from mmhybrid import compat
from mmhybrid.models import checkpoints
from mmhybrid.models.checkpoints import load_local
from mmhybrid.torch_api import TORCH, is_device_error
from mmhybrid.utils.optional import is_of_onedl

IS_ONEDL = is_of_onedl('mmengine')
TRAIN = """
import sys, torch
sys.modules['torchvision'] = None  # the runner imports it to report its version, and that is the other fix
from mmengine.model import BaseModel
from mmengine.runner import Runner
if sys.argv[2] == 'with':
    import mmhybrid

class Tiny(BaseModel):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 1)
    def forward(self, inputs, mode):
        return {'loss': self.fc(inputs).square().mean()}

def runner(epochs, resume):
    return Runner(
        Tiny(), sys.argv[1], train_dataloader=dict(dataset=[dict(inputs=torch.ones(2))] * 4, batch_size=2, sampler=dict(
            type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate')),
        train_cfg=dict(by_epoch=True, max_epochs=epochs), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)), resume=resume, experiment_name=str(epochs))

runner(1, False).train()
again = runner(2, True)
again.train()
assert again.epoch == 2 and again.iter == 4
"""

IMPORT_TORCHVISION = """
import sys, torch
if sys.argv[1] == 'with':
    import mmhybrid
    assert 'torchvision' not in sys.modules
import torchvision.transforms.functional as F
assert F.hflip(torch.arange(3.0).view(1, 1, 3)).tolist() == [[[2.0, 1.0, 0.0]]]
boxes = torch.zeros(1, 4), torch.zeros(1)
try:
    torch.ops.torchvision.nms(*boxes, 0.5)
except NotImplementedError:
    print('declared only')
"""


def test_import_is_cheap_and_leaves_hosts_alone():
    """Beside torch and MMEngine it brings in nothing that is not Python's or its own."""
    done = run_python("""
import sys, torch, mmengine
before = {*sys.modules}
import mmhybrid
print(*{name.partition('.')[0] for name in {*sys.modules} - before} - sys.stdlib_module_names)
""")
    assert done.returncode == 0, done.stderr
    assert {*done.stdout.split()} == {'mmhybrid', 'mmhybrid_autoload'}


@pytest.mark.torch_since(2, 6)
@pytest.mark.skipif(IS_ONEDL, reason='onedl-mmengine turns to weights_only=False')
def test_resume_fails_without_the_fix(tmp_path):
    done = run_python(TRAIN, tmp_path, 'without')
    assert done.returncode != 0
    assert 'UnpicklingError' in done.stderr


def test_resume_works_with_the_fix(tmp_path):
    done = run_python(TRAIN, tmp_path, 'with')
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not IS_ONEDL, reason='onedl-mmengine allows globals of its own')
def test_each_name_in_a_checkpoint_has_one_meaning():
    with torch.serialization.safe_globals(checkpoint.get_torch_safe_globals()):
        names = [compat.global_name(item) for item in torch.serialization.get_safe_globals()]
    assert len(names) == len({*names}) > 5


@pytest.mark.parametrize('name', ['min', 'max', 'current', 'mean'])
def test_restricted_getattr_hands_out_the_statistics(name):
    assert compat.history_buffer_getattr(HistoryBuffer, name) is getattr(HistoryBuffer, name)


@pytest.mark.parametrize(
    ('owner', 'name'),
    [
        (HistoryBuffer, 'update'),
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, 'mean.__globals__'),
        (HistoryBuffer, ['mean']),
        (HistoryBuffer(), 'mean'),
        (type('HistoryBuffer', (HistoryBuffer,), {}), 'mean'),
        (os, 'system'),
        (np.ndarray, 'mean'),
    ],
)
def test_restricted_getattr_refuses_anything_else(owner, name):
    with pytest.raises(AttributeError, match='HistoryBuffer'):
        compat.history_buffer_getattr(owner, name)


class Reach:
    """Pickles as ``getattr(HistoryBuffer, name)``."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return getattr, (HistoryBuffer, self.name)


def test_restricted_getattr_is_the_one_that_loading_uses(tmp_path):
    torch.save(Reach('mean'), tmp_path / 'good.pth')
    torch.save(Reach('__init__'), tmp_path / 'bad.pth')
    assert load_local(tmp_path / 'good.pth', 'cpu') is HistoryBuffer.mean
    with pytest.raises(Exception, match='may only take'):
        load_local(tmp_path / 'bad.pth', 'cpu')


@pytest.mark.parametrize('dtype', ['int64', 'float32', 'float64', 'bool'])
def test_numpy_values_load_under_both_module_names(tmp_path, dtype):
    value = {'array': np.ones(3, dtype), 'scalar': np.dtype(dtype).type(1)}
    path = tmp_path / 'value.pth'
    torch.save(value, path, _use_new_zipfile_serialization=False)
    for name in (b'numpy._core.multiarray', b'numpy.core.multiarray'):
        file = tmp_path / 'named.pth'
        file.write_bytes(re.sub(rb'numpy\._?core\.multiarray', name, path.read_bytes()))
        loaded = load_local(file, 'cpu')
        np.testing.assert_array_equal(loaded['array'], value['array'])
        assert loaded['scalar'] == value['scalar']


def test_allow_list_leaves_other_globals_refused(tmp_path):
    torch.save(Path('/'), tmp_path / 'path.pth')
    with pytest.raises(UnpicklingError, match=r'GLOBAL pathlib'):
        load_local(tmp_path / 'path.pth', 'cpu')


@pytest.mark.torch_since(2, 6)
def test_allow_list_keeps_what_the_process_allowed_before():
    done = run_python("""
import torch
def mine(owner, name): return 'mine'
torch.serialization.add_safe_globals([(mine, 'builtins.getattr')])
import mmhybrid
named = [item[0] for item in torch.serialization.get_safe_globals() if isinstance(item, tuple)
         and item[1] == 'builtins.getattr']
assert named == [mine], named
before = set(torch.serialization.get_safe_globals())
mmhybrid.compat.apply()
assert set(torch.serialization.get_safe_globals()) == before
""")
    assert done.returncode == 0, done.stderr


def torchvision_is_broken():
    return 'torchvision::nms does not exist' in run_python(IMPORT_TORCHVISION, 'without').stderr


def test_torchvision_imports_with_the_fix():
    broken = torchvision_is_broken()
    done = run_python(IMPORT_TORCHVISION, 'with')
    assert done.returncode == 0, done.stderr
    assert ('declared only' in done.stdout) == broken


FAKE_TORCHVISION = """
import sys, torch
from pathlib import Path
package = Path(sys.argv[1]) / 'torchvision'
package.mkdir()
(package / '__init__.py').write_text('raise AssertionError("imported")')
(package / sys.argv[3]).write_bytes(b'no library')
sys.path.insert(0, sys.argv[1])
loaded = []
def load_library(path):
    if sys.argv[2] == 'broken':
        raise OSError(path)
    loaded.append(Path(path))
    library = torch.library.Library('torchvision', 'DEF')
    library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    loaded.append(library)
torch.ops.load_library = load_library
import mmhybrid
assert 'torchvision' not in sys.modules
if sys.argv[2] == 'broken':
    assert torch.ops.torchvision.nms and torch.ops.torchvision.qnms
    mmhybrid.compat.apply()
else:
    assert loaded[0] == package / sys.argv[3] and torch.ops.torchvision.nms
    assert not hasattr(torch.ops.torchvision, 'qnms')
"""


@pytest.mark.parametrize('file', ['_C.so', '_C_stable.so'])
@pytest.mark.parametrize('library', ['broken', 'works'])
def test_torchvision_operators_are_declared_only_where_its_library_does_not_load(tmp_path, library, file):
    done = run_python(FAKE_TORCHVISION, tmp_path, library, file)
    assert done.returncode == 0, done.stderr


def test_nothing_is_declared_without_torchvision():
    done = run_python("""
import importlib.util, torch
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == 'torchvision' else find_spec(name)
import mmhybrid
assert not hasattr(torch.ops.torchvision, 'nms')
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.dense
@pytest.mark.parametrize(
    ('base', 'key', 'value'),
    [
        ('mmdet::_base_/models/retinanet_r50_fpn.py', 'model.bbox_head.type', 'RetinaHead'),
        ('mmseg::_base_/models/upernet_r50.py', 'model.decode_head.type', 'UPerHead'),
        ('mmpretrain::_base_/models/resnet18.py', 'model.backbone.depth', 18),
    ],
)
def test_config_inherits_across_packages(tmp_path, base, key, value):
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {base!r}\n')
    found = Config.fromfile(config)
    for part in key.split('.'):
        found = found[part]
    assert found == value


FAKE_TRANSFORMERS = {
    'transformers/__init__.py': """
from . import configuration_utils
from .modeling_utils import PreTrainedModel
from .models.auto.auto_factory import _BaseAutoModelClass
def __getattr__(name):
    return type(name, (_BaseAutoModelClass if name.startswith('AutoModel') else PreTrainedModel,), {})
""",
    'transformers/configuration_utils.py': 'class PretrainedConfig: __eq__ = None\n',  # which old torch asks for
    'transformers/modeling_utils.py': 'class PreTrainedModel: from_pretrained = from_config = None\n',
    'transformers/models/__init__.py': '',
    'transformers/models/auto/__init__.py': '',
    'transformers/models/auto/auto_factory.py': 'class _BaseAutoModelClass: from_pretrained = from_config = None\n',
    'transformers-5.0.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: transformers\nVersion: 5.0.0\n',
}

IMPORT_MMPRETRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
import mmpretrain
if sys.argv[2] == 'with':
    import mmhybrid
import mmpretrain.models
from mmpretrain import get_model
from mmpretrain.registry import MODELS
import transformers
print(type(get_model('resnet18_8xb32_in1k')).__name__)
for name in ('BlipCaption', 'Blip2Caption', 'Llava', 'CLIPZeroShot'):
    try:
        MODELS.build(dict(type=name))
    except ImportError as error:
        assert name in str(error), error
        print(error)
"""


@pytest.fixture
def fake_transformers(tmp_path):
    for name, text in FAKE_TRANSFORMERS.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.torchvision  # which it imports first
def test_mmpretrain_does_not_import_beside_transformers_without_the_fix(fake_transformers):
    done = run_python(IMPORT_MMPRETRAIN, fake_transformers, 'without')
    assert done.returncode != 0
    assert 'mmpretrain/models/multimodal/blip' in done.stderr


def test_mmpretrain_imports_beside_transformers_with_the_fix(fake_transformers):
    done = run_python(IMPORT_MMPRETRAIN, fake_transformers, 'with')
    assert done.returncode == 0, done.stderr
    assert 'ImageClassifier' in done.stdout
    assert done.stdout.count('do not run with transformers 5.0.0 (') == 5  # said once, and for each that is built


MULTIMODAL = """
import sys
from types import ModuleType
from mmhybrid import compat
from mmhybrid.models import checkpoints
from mmhybrid.models.checkpoints import load_local
from mmhybrid.torch_api import TORCH
from mmhybrid.utils.optional import is_of_onedl
from mmpretrain.registry import MODELS
from mmpretrain.utils import dependency
dependency.WITH_MULTIMODAL = sys.argv[1] == 'wanted'
def execute(module):
    MODELS.register_module(name='Mine', module=dict)
    if sys.argv[2] == 'fails':
        raise KeyError('mine')
compat.import_without_transformers(ModuleType('multimodal'), execute)
assert MODELS.module_dict['Mine'] is dict
"""


@pytest.mark.parametrize(
    ('transformers', 'outcome', 'error'), [('wanted', 'works', ''), ('absent', 'fails', "KeyError: 'mine'")]
)
def test_multimodal_models_are_left_alone_where_they_work_or_fail_for_another_reason(transformers, outcome, error):
    done = run_python(MULTIMODAL, transformers, outcome)
    assert (done.returncode != 0) == bool(error), done.stderr
    assert error in done.stderr


READ_THROUGH_THE_HOST = """
import io, sys, torch
import mmhybrid.models.checkpoints
from mmengine.runner import checkpoint

class Attack:
    def __reduce__(self):
        return open, (sys.argv[1], 'w')

torch.save({'state_dict': Attack()}, sys.argv[2])
readers = [lambda: checkpoint.CheckpointLoader.load_checkpoint(sys.argv[2])]
if hasattr(checkpoint, '_safe_torch_load'):
    readers += [lambda: checkpoint._safe_torch_load(sys.argv[2])]
    readers += [lambda: checkpoint._safe_torch_load(io.BytesIO(open(sys.argv[2], 'rb').read()))]
for read in readers:
    try:
        read()
    except Exception as error:
        print(type(error).__name__)
"""


def test_no_reader_of_mmengine_runs_what_a_file_holds(tmp_path):
    """That of onedl-mmengine does where torch refuses."""
    trace = tmp_path / 'trace'
    done = run_python(READ_THROUGH_THE_HOST, trace, tmp_path / 'a.pth')
    assert done.returncode == 0, done.stderr
    assert not trace.exists()
    refused = [
        line for line in done.stdout.splitlines() if ' - mmengine - ' not in line and 'oads checkpoint' not in line
    ]
    assert refused == ['UnpicklingError'] * (3 if IS_ONEDL else 1), done.stdout


@pytest.mark.skipif(TORCH >= (2, 6), reason='torch reads with weights_only=True')
def test_stores_that_an_old_torch_would_unpickle_are_refused():
    for address in ('s3://bucket/a.pth', 'cluster:petrel://bucket/a.pth', 'pavi://a.pth'):
        with pytest.raises(
            ValueError, match=r'reading \S+a\.pth without running what it holds needs torch 2\.6 or newer'
        ):
            CheckpointLoader.load_checkpoint(address)


def test_a_lost_device_is_told_from_other_errors():
    lost = getattr(torch, 'AcceleratorError', RuntimeError)('CUDA error: an illegal memory access was encountered')
    assert is_device_error(lost)
    assert not is_device_error(RuntimeError('The size of tensor a must match the size of tensor b'))
    assert not is_device_error(ValueError('CUDA error'))


DECODE = """
import os, sys
from mmcv.transforms import LoadImageFromFile
if sys.argv[1] == 'before':
    import PIL.EpsImagePlugin
if sys.argv[2] == 'with':
    import mmhybrid
try:
    LoadImageFromFile(imdecode_backend='pillow')({'img_path': 'photo.png'})
except Exception as error:
    print(type(error).__name__, os.path.exists('trace'))
"""


@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize(('mmhybrid', 'answer'), [('without', 'CalledProcessError True'), ('with', 'OSError False')])
def test_no_image_is_a_program(tmp_path: Path, when: str, mmhybrid: str, answer: str) -> None:
    """Pillow hands EPS, whatever the file is called, to Ghostscript; label maps are read so too."""
    (tmp_path / 'gs').write_text(f'#!/bin/sh\n: > {tmp_path}/trace\nexit 1\n')
    (tmp_path / 'gs').chmod(0o755)
    (tmp_path / 'photo.png').write_text(
        '%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n'
    )
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    done = run_python(DECODE, when, mmhybrid, cwd=tmp_path, PATH=path)
    assert done.stdout.split('\n')[-2:] == [answer, ''], done.stderr


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f'touch {self.path}',)


def test_torch_reads_weights_alone_unless_told_otherwise(tmp_path: Path) -> None:
    """As hosts call it that say nothing: it runs what a file names in torch before 2.6 without mmhybrid."""
    torch.save(Harmful(tmp_path / 'trace'), tmp_path / 'file.pth')
    with pytest.raises(UnpicklingError):
        torch.load(tmp_path / 'file.pth')
    assert not (tmp_path / 'trace').exists()
    torch.load(tmp_path / 'file.pth', weights_only=False)
    assert (tmp_path / 'trace').exists()


def test_a_file_that_asks_for_values_and_has_none_is_refused(tmp_path: Path) -> None:
    """As hosts read prototypes and queues: torch would give memory of this process, uncleared."""
    size = struct.pack('<i', 16384)
    with zipfile.ZipFile(tmp_path / 'file.pth', 'w') as archive:
        archive.writestr('e/data.pkl', b'\x80\x02ctorch\nFloatTensor\n(J' + size + b'tR.')
        archive.writestr('e/byteorder', b'little')
        archive.writestr('e/version', b'3\n')
    for path in (tmp_path / 'file.pth', str(tmp_path / 'file.pth')):
        with pytest.raises((UnpicklingError, ValueError)):
            torch.load(path)
        with pytest.raises((UnpicklingError, ValueError)):
            torch.load(path, map_location='cpu')


def test_torch_reads_plain_files_as_ever(tmp_path: Path) -> None:
    content = {'queue': {'a': torch.arange(4.0)}, 'b': [1, 'text', None]}
    torch.save(content, tmp_path / 'file.pth')
    found = torch.load(tmp_path / 'file.pth')
    assert torch.equal(found['queue']['a'], content['queue']['a'])
    assert found['b'] == content['b']
    torch.save(torch.ones(2, 3), tmp_path / 'prototypes.pth')
    assert torch.equal(torch.load(f'{tmp_path}/prototypes.pth', map_location='cpu'), torch.ones(2, 3))
    file = io.BytesIO((tmp_path / 'prototypes.pth').read_bytes())
    assert torch.equal(torch.load(file), torch.ones(2, 3))
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / 'none.pth')


def test_an_older_torch_is_told_to_read_weights_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    torch.save({'a': torch.ones(2), 'hub': HistoryBuffer([1.0], [1])}, tmp_path / 'file.pth')
    (tmp_path / 'harm.pth').write_bytes(pickle.dumps(Harmful(tmp_path / 'trace')))
    monkeypatch.setattr(checkpoints, 'TORCH', (2, 5))
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: given.append((args, kwargs)))
    compat.load_weights_only()
    assert torch.load(tmp_path / 'file.pth', 'cpu')['hub'].mean() == 1
    with pytest.raises(UnpicklingError):
        torch.load(str(tmp_path / 'harm.pth'), map_location='cpu', weights_only=None)
    assert not (tmp_path / 'trace').exists()
    torch.load('file', weights_only=False)
    torch.load('file', 'cpu', pickle)
    file = io.BytesIO()
    torch.load(file)
    expected = [(('file', None, None), {'weights_only': False}), (('file', 'cpu', pickle), {})]
    assert given == [*expected, ((file, None), {'weights_only': True})]
    load = torch.load
    compat.load_weights_only()
    assert torch.load is load
