"""Checkpoints that would run code, remove files, or were damaged on the way."""

import http.server
import io
import os
import pickle
import random
import re
import resource
import runpy
import struct
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS, RUNNERS
from mmengine.runner import Runner, load_checkpoint
from torch import nn

from mmhybrid.apis.training import train
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.datasets.label_maps import read_label_map
from mmhybrid.engine.checkpoint import AtomicCheckpointHook
from mmhybrid.engine.resume import ResumableEpochLoop, ResumableIterLoop
from mmhybrid.models.checkpoints import load_local, plain_weights, read_checkpoint, write_checkpoint, write_safetensors
from mmhybrid.models.released import read_released
from mmhybrid.models.supernets.start import starting_network
from mmhybrid.models.teachers import Teacher
from mmhybrid.space import AutoViTSpace

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = {'linear.weight': torch.arange(6.0).reshape(2, 3), 'linear.bias': torch.ones(2, dtype=torch.bfloat16)}


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f'touch {self.trace}',)


def zipped(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def legacy(path: Path, content: object) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def bare(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, 2))
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / 'trace'


@MODELS.register_module(force=True)
class HostileToyModel(BaseModel):
    """A linear layer."""

    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.linear = nn.Linear(3, 2)

    def forward(self, inputs: Any, mode: str = 'tensor') -> Any:
        out = self.linear(torch.stack(inputs))
        return {'loss': out.square().mean()} if mode == 'loss' else list(out)


@METRICS.register_module(force=True)
class HostileToyMetric(BaseMetric):
    """Always one."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(1.0)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        return {'top1': 1.0}


def toy_config(folder: Path, **changes: Any) -> Config:
    loop = {'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 2}
    loader = {'batch_size': 2, 'dataset': [{'inputs': torch.ones(3)}] * 4, 'sampler': {'type': 'DefaultSampler'}}
    return Config(
        {
            'experiment_name': uuid.uuid4().hex,
            'work_dir': str(folder / 'work'),
            'model': {'type': 'HostileToyModel'},
            'train_dataloader': {**loader, 'num_workers': 0},
            'train_cfg': loop,
            'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.1}},
            'default_hooks': {'checkpoint': {'type': 'mmhybrid.AtomicCheckpointHook', 'interval': 1}},
            **changes,
        }
    )


def training(folder: Path, path: Path, **changes: Any) -> None:
    """Of the toy, with a checkpoint somewhere in its config."""
    train(toy_config(folder, **changes))


def tool(name: str, *arguments: object) -> None:
    runpy.run_path(str(ROOT / f'tools/{name}.py'))['main']([str(argument) for argument in arguments])


def teacher(path: Path) -> None:
    Teacher(str(path), config=str(ROOT / 'configs/demo/autovit_cls.py'))


def supernet(path: Path) -> None:
    space = AutoViTSpace(table='xxs')
    arch = space.decode(space.largest())
    start = {'type': 'mmhybrid.FromNetwork', 'arch': arch, 'checkpoint': str(path)}
    starting_network(start, space, {'type': 'mmhybrid.AutoViT'})


PRETRAINED = 'Pretrained'
READERS: dict[str, Callable[[Path, Path], Any]] = {
    'read_checkpoint': lambda folder, path: read_checkpoint(str(path)),
    'averaged weights': lambda folder, path: plain_weights(str(path)),
    'plain_weights.py': lambda folder, path: tool('plain_weights', path, folder / 'out.pth'),
    'load_from': lambda folder, path: training(folder, path, load_from=str(path)),
    'resume': lambda folder, path: training(folder, path, load_from=str(path), resume=True),
    'init_cfg': lambda folder, path: training(
        folder, path, model={'type': 'HostileToyModel', 'init_cfg': {'type': PRETRAINED, 'checkpoint': str(path)}}
    ),
    'supernet': lambda folder, path: supernet(path),
    'MMEngine itself': lambda folder, path: load_checkpoint(nn.Linear(1, 1), str(path)),
    'teacher': lambda folder, path: teacher(path),
    'label map': lambda folder, path: read_label_map(path),
}


@pytest.mark.parametrize('pack', [zipped, legacy, bare])
@pytest.mark.parametrize('reader', READERS)
def test_a_pickle_that_runs_code_is_refused_in_our_words(
    tmp_path: Path, trace: Path, reader: str, pack: Callable[[Path, object], Path], capsys: pytest.CaptureFixture
) -> None:
    path = pack(tmp_path / 'epoch_1.pth', {'state_dict': {'linear.weight': Attack(trace)}, 'meta': {}})
    torch.load(path, weights_only=False) if pack is not bare else pickle.loads(path.read_bytes())  # noqa: S301
    assert trace.exists(), 'the attack must be one'
    trace.unlink()
    with pytest.raises((SystemExit, ValueError, pickle.UnpicklingError)) as ended:
        READERS[reader](tmp_path, path)
    assert not trace.exists()
    if reader == 'MMEngine itself':
        return
    told = capsys.readouterr().err if isinstance(ended.value, SystemExit) else str(ended.value)
    assert not re.search('weights_only|PyTorch 2.6|trusted source', told)
    if reader != 'label map':
        assert 'names posix.system, which weights have no use for' in told or 'it is damaged, or a pickle' in told


@pytest.mark.parametrize('reader', [name for name in READERS if name not in ('label map', 'MMEngine itself')])
@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\xff' * 8,
        b'\x10\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99]}}',
        pickle.dumps({}),
        (1 << 60).to_bytes(8, 'little') + b'{}',
        (60).to_bytes(8, 'little') + b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}',
    ],
)
def test_hostile_safetensors_are_refused(
    tmp_path: Path, reader: str, content: bytes, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / 'best.safetensors'
    path.write_bytes(content)
    with pytest.raises((SystemExit, ValueError)) as ended:
        READERS[reader](tmp_path, path)
    told = capsys.readouterr().err if isinstance(ended.value, SystemExit) else str(ended.value)
    assert f'{path} is not a checkpoint that can be read: no file of safetensors, or damaged' in told


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a folder, on this machine."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'cache'))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{found.server_port}'
        found.shutdown()


def test_an_address_is_read_as_a_file_is(tmp_path: Path, trace: Path, server: str) -> None:
    zipped(tmp_path / 'evil.pth', {'state_dict': Attack(trace)})
    with pytest.raises(ValueError, match=r'evil\.pth is not read: it names posix\.system'):
        read_checkpoint(f'{server}/evil.pth')
    assert not trace.exists()
    zipped(tmp_path / 'good.pth', {'state_dict': WEIGHTS})
    assert torch.equal(read_checkpoint(f'{server}/good.pth')['state_dict']['linear.bias'], WEIGHTS['linear.bias'])


FLEXIBLE = {'runner_type': 'FlexibleRunner', 'strategy': {'type': 'SingleDeviceStrategy'}, 'env_cfg': {}}


@pytest.mark.parametrize('runner', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
def test_the_config_in_a_checkpoint_is_not_run_by_resuming(tmp_path: Path, trace: Path, runner: dict[str, Any]) -> None:
    """MMEngine's runners run it."""
    train(toy_config(tmp_path, train_cfg={'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 1}, **runner))
    path = tmp_path / 'work' / 'epoch_1.pth'
    checkpoint = load_local(path, 'cpu')
    checkpoint['meta']['config'] = f'__import__("pathlib").Path({str(trace)!r}).touch()\n'
    torch.save(checkpoint, path)
    cfg = toy_config(tmp_path, load_from=str(path), resume=True, **runner)
    RUNNERS.build(cfg).train() if runner else Runner.from_cfg(cfg).train()
    assert trace.exists(), 'the attack must be one'
    trace.unlink()
    for found in (str(path), None):  # named, and the latest
        torch.save(checkpoint, path)
        (tmp_path / 'work' / 'last_checkpoint').write_text(str(path))
        with pytest.raises(ValueError, match='has a config, which MMEngine would run'):
            train(toy_config(tmp_path, load_from=found, resume=True, **runner))
        assert not trace.exists()


def test_a_terminal_obeys_no_weight(tmp_path: Path) -> None:
    """MMEngine logs the names of those that a model has no place for."""
    path = zipped(tmp_path / 'a.pth', {'state_dict': {**WEIGHTS, '\x1b[2J': torch.zeros(1)}})
    with pytest.raises(ValueError, match=re.escape(r"'\x1b[2J' is not a name of a tensor")):
        train(toy_config(tmp_path, load_from=str(path)))


WRONG_STATES: dict[str, Any] = {
    'meta': [{}],
    'meta.iter': [None, -1, 1.5, [], torch.ones(3)],
    'meta.epoch': [torch.ones(3)],
    'message_hub': [None, 'x', torch.ones(3)],
    'message_hub.log_scalars': [5],
    'message_hub.runtime_info': [b'x'],
    'message_hub.runtime_info.data_position': [-1, [], {}, {'epoch': 1, 'samples': 1, 'feed': 5}],
    'optimizer.state': ['x'],
    'optimizer.param_groups': [None, [5], [{}]],
    'param_schedulers': [7, [None]],
}


def test_a_state_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Wherever MMEngine and torch find it."""
    schedule = {'param_scheduler': {'type': 'MultiStepLR', 'milestones': [1], 'by_epoch': True}}
    train(toy_config(tmp_path, train_cfg={'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 1}, **schedule))
    path = tmp_path / 'work' / 'epoch_1.pth'
    for place, values in WRONG_STATES.items():
        *parents, name = place.split('.')
        for value in values:
            checkpoint = part = load_local(path, 'cpu')
            for parent in parents:
                part = part[parent]
            part[name] = value
            torch.save(checkpoint, tmp_path / 'wrong.pth')
            cfg = toy_config(tmp_path, load_from=str(tmp_path / 'wrong.pth'), resume=True, **schedule)
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended, ending_on_mistakes() as phase:
                train(cfg, phase=phase)
            assert ended.value.code == 2, (place, value)
            assert re.search(
                r'does not hold the state of a training: |meta\.(iter|epoch): got |meta: missing |data_position',
                capsys.readouterr().err,
            ), (place, value)


def test_a_checkpoint_names_no_file_to_be_removed(tmp_path: Path) -> None:
    precious, own = tmp_path / 'precious', tmp_path / 'work' / 'best_top1_epoch_1.pth'
    own.parent.mkdir()
    for path in (precious, own):
        path.touch()
    for named, is_left in ((precious, True), (own, False)):
        hub = MessageHub.get_instance(uuid.uuid4().hex)
        hub.update_info('best_ckpt', str(named))
        hub.update_info('keep_ckpt_ids', ['/../../precious', 1])
        saved: list[str] = []
        runner: Any = SimpleNamespace(
            work_dir=str(own.parent),
            message_hub=hub,
            logger=MMLogger.get_current_instance(),
            epoch=2,
            iter=2,
            save_checkpoint=lambda folder, filename, *_, saved=saved, **__: saved.append(filename),
        )
        hook = AtomicCheckpointHook(save_best='top1', rule='greater', max_keep_ckpts=1)
        hook.before_train(runner)
        assert hook.keep_ckpt_ids == [1] or list(hook.keep_ckpt_ids) == [1]
        hook._save_best_checkpoint(runner, {'top1': 1.0})
        assert saved == ['best_top1_epoch_2.pth']
        assert named.exists() == is_left


@pytest.mark.parametrize('runner', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
@pytest.mark.parametrize('hook', ['CheckpointHook', 'mmhybrid.AtomicCheckpointHook'])
def test_resuming_removes_no_file_that_a_checkpoint_names(tmp_path: Path, hook: str, runner: dict[str, Any]) -> None:
    """With MMEngine's own hook too, which trusts the checkpoint."""
    precious = tmp_path / 'precious.pth'
    precious.touch()
    hooks = {'checkpoint': {'type': hook, 'interval': 1, 'save_best': 'top1', 'rule': 'greater', 'max_keep_ckpts': 1}}
    evaluator = {'type': 'HostileToyMetric'}
    loader = {'batch_size': 2, 'dataset': [{'inputs': torch.ones(3)}] * 4, 'sampler': {'type': 'DefaultSampler'}}
    judged: dict[str, Any] = {'val_dataloader': {**loader, 'num_workers': 0}, 'val_evaluator': evaluator, 'val_cfg': {}}
    given = {'default_hooks': hooks, **judged, **runner}
    train(toy_config(tmp_path, **given, train_cfg={'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 1}))
    path = tmp_path / 'work' / 'epoch_1.pth'
    checkpoint = load_local(path, 'cpu')
    info = checkpoint['message_hub']['runtime_info']
    info['best_ckpt'], info['best_score'] = str(precious), -1.0
    (tmp_path / 'work' / 'epoch_').mkdir()
    info['keep_ckpt_ids'] = ['/../../precious', '/../../precious', 1]
    torch.save(checkpoint, path)
    train(toy_config(tmp_path, **given, load_from=str(path), resume=True))
    assert precious.exists()
    assert list((tmp_path / 'work').glob('best_top1_*')), 'the attack must meet a better checkpoint'


def same(weights: dict[str, Any]) -> bool:
    return weights.keys() == WEIGHTS.keys() and all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize('name', ['net.pth', 'net.safetensors'])
def test_no_flipped_bit_changes_weights_unseen(tmp_path: Path, name: str) -> None:
    """Bit after bit, each is harmless or noticed."""
    path = tmp_path / name
    if name.endswith('.pth'):
        write_checkpoint(path, {'state_dict': WEIGHTS})
    else:
        write_safetensors(path, WEIGHTS)
    sound = path.read_bytes()
    assert same(read_checkpoint(str(path))['state_dict'])
    rng, noticed = random.Random(0), 0
    for _ in range(400):
        place, bit = rng.randrange(len(sound)), 1 << rng.randrange(8)
        path.write_bytes(sound[:place] + bytes([sound[place] ^ bit]) + sound[place + 1 :])
        try:
            assert same(read_checkpoint(str(path))['state_dict']), place
        except ValueError:
            noticed += 1
    assert noticed > 20


def test_a_changed_weight_is_named_as_damage(tmp_path: Path) -> None:
    for name, write in (('a.pth', lambda p: write_checkpoint(p, {'state_dict': WEIGHTS})), ('a.safetensors', None)):
        path = tmp_path / name
        write(path) if write else write_safetensors(path, WEIGHTS)
        content = path.read_bytes()
        place = content.index(WEIGHTS['linear.weight'].numpy().tobytes()) + 4
        path.write_bytes(content[:place] + b'\x01' + content[place + 1 :])
        with pytest.raises(ValueError, match=r'damaged, since .*checksum.* does not match'):
            read_checkpoint(str(path))


def compressed(path: Path, content: object) -> Path:
    torch.save(content, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def repeated_entry(path: Path) -> Path:
    """The directory of an archive names the same bytes again and again."""
    zipped(path, {'model': {'linear.weight': torch.zeros(2, 10**5)}})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        head = content[archive.start_dir : content.rindex(b'PK\6\6')]
    path.write_bytes(
        content[: archive.start_dir]
        + head * 1000
        + struct.pack('<4s8xLLH', b'PK\5\6', 1000 * len(head), archive.start_dir, 0)
    )
    return path


def of_two_directories(path: Path, content: object) -> Path:
    """Python looks for the directory of an archive before its end, torch where the end says."""
    hidden = compressed(path, content).read_bytes()
    zipped(path, {'model': {'linear.weight': torch.zeros(2)}})
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(path.with_name('plain'), 'w') as plain:
        for entry in archive.infolist():  # without torch's large numbers
            plain.writestr(entry.filename, archive.read(entry))
    shown = path.with_name('plain').read_bytes()
    before, after = (archive.rindex(b'PK\5\6') for archive in (hidden, shown))
    (length, start), (_, place) = (struct.unpack('<LL', archive[-10:-2]) for archive in (shown, hidden))
    directory = bytearray(shown[start:after])
    at = 0
    while at < len(directory):
        name, extra, comment = struct.unpack('<3H', directory[at + 28 : at + 34])
        (offset,) = struct.unpack('<L', directory[at + 42 : at + 46])
        directory[at + 42 : at + 46] = struct.pack('<L', offset + place - start)  # to which Python adds the rest
        at += 46 + name + extra + comment
    path.write_bytes(
        hidden[:before] + shown[:start] + directory + shown[after:-10] + struct.pack('<LLH', length, place, 0)
    )
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    'compressed': lambda path: compressed(path, {'model': {'linear.weight': torch.zeros(2, 10**6)}}),
    'repeated': lambda path: zipped(path, {'model': {'linear.weight': torch.zeros(1).expand(2, 10**11)}}),
    'repeated of an optimizer': lambda path: zipped(
        path, {'model': {'a': torch.zeros(1).expand(10**11)}, 'optimizer': {'state': [torch.zeros(1).expand(10**11)]}}
    ),
}


@pytest.mark.parametrize('reader', [read_checkpoint, read_released, read_label_map], ids=lambda reader: reader.__name__)
@pytest.mark.parametrize('bomb', BOMBS)
def test_small_files_do_not_stand_for_much_memory(tmp_path: Path, bomb: str, reader: Callable[[Any], Any]) -> None:
    path = BOMBS[bomb](tmp_path / 'epoch_1.pth')
    assert path.stat().st_size < 20_000
    with pytest.raises(
        ValueError,
        match=r'compressed entries|repeat few values|from 1 values|that torch.save has written',
    ):
        reader(str(path))


@pytest.mark.parametrize('read', [read_checkpoint, read_label_map], ids=lambda read: read.__name__)
def test_python_and_torch_read_the_same_archive(tmp_path: Path, read: Callable[[Any], Any]) -> None:
    path = of_two_directories(tmp_path / 'a.pth', {'state_dict': {'linear.weight': torch.zeros(2, 10**6)}})
    assert path.stat().st_size < 20_000
    assert torch.load(path, weights_only=False)['state_dict']['linear.weight'].numel() == 2 * 10**6, (
        'the attack must be one'
    )
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    with pytest.raises(ValueError, match=r'its directory is elsewhere|that torch.save has written'):
        read(str(path))


def test_bytes_of_an_archive_are_those_of_one_entry(tmp_path: Path) -> None:
    """Their checksum would be computed for each."""
    path = repeated_entry(tmp_path / 'a.pth')
    with zipfile.ZipFile(path) as archive:
        assert sum(entry.file_size for entry in archive.infolist()) > 500 * path.stat().st_size, (
            'the attack must be one'
        )
    with pytest.raises(ValueError, match='its entries share their bytes'):
        read_checkpoint(str(path))


def test_weights_that_were_expanded_are_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / 'epoch_1.pth', {'state_dict': {'mask': torch.ones(1).expand(4, 5)}})
    assert read_checkpoint(str(path))['state_dict']['mask'].sum() == 20


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


class Named:
    """Pickles as the name of a storage."""

    def __init__(self, *name: Any) -> None:
        self.name = ('storage', torch.FloatStorage, *name)


class StoragePickler(pickle._Pickler):
    """Writes names of storages as torch does."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.name if isinstance(obj, Named) else None


def pickled(content: object) -> bytes:
    stream = io.BytesIO()
    StoragePickler(stream, 2).dump(content)
    return stream.getvalue()


def by_hand(path: Path, content: object, values: bytes = b'') -> Path:
    """A file of torch's, with the storage 0."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', pickled(content))
        archive.writestr('archive/version', '3')
        archive.writestr('archive/data/0', values)
    return path


def legacy_by_hand(path: Path, content: object) -> Path:
    """A file of torch's first format, without the values of any storage."""
    head = 0x1950A86A20F9469CFC6C, 1001, {'protocol_version': 1001, 'little_endian': True}
    path.write_bytes(b''.join(map(pickled, (*head, content, []))))
    return path


def tensor_of(numel: int, *device: Any) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, Named('0', 'cpu', numel, *device), 0, (numel,), (1,), False, {})


def doubled(kind: Callable[[Any], Any]) -> Any:
    """What holds itself twice, forty levels deep."""
    content: Any = 'ha'
    for _ in range(40):
        content = kind(content)
    return content


FOUND_MEMORY = {
    'a legacy tensor without values': lambda path: legacy_by_hand(path, {'state_dict': {'a': tensor_of(4096, None)}}),
    'a class of tensors': lambda path: by_hand(path, {'state_dict': {'a': Call(torch.FloatTensor, 4096)}}),
    'the class of tensors': lambda path: by_hand(path, {'state_dict': {'a': Call(torch.Tensor, 4096)}}),
    'a storage': lambda path: by_hand(path, {'state_dict': {}, 'meta': Call(torch.UntypedStorage, 4096)}),
    'bytes': lambda path: by_hand(path, {'state_dict': {}, 'meta': Call(bytearray, 3 * 10**9)}),
    'any function': lambda path: by_hand(
        path, {'state_dict': {}, 'meta': Call(torch._tensor._rebuild_from_type_v2, bytearray, torch.Tensor, (9,), {})}
    ),
    'objects in bytes': lambda path: by_hand(
        path, {'state_dict': {}, 'meta': Call(np.ndarray, (1,), Call(np.dtype, 'f8', False, True), b'A' * 64)}
    ),
    'a type of objects': lambda path: by_hand(path, {'state_dict': {}, 'meta': Call(np.dtype, 'O', False, True)}),
    'lists in lists': lambda path: by_hand(path, {'state_dict': {}, 'meta': doubled(lambda item: [item, item])}),
    'dicts in dicts': lambda path: by_hand(path, {'state_dict': doubled(lambda item: {'a': item, 'b': item})}),
}


@pytest.mark.parametrize('attack', FOUND_MEMORY)
def test_no_checkpoint_takes_memory_as_others_left_it_or_without_end(tmp_path: Path, attack: str) -> None:
    """torch reads each of them with ``weights_only=True``."""
    path = FOUND_MEMORY[attack](tmp_path / 'epoch_1.pth')
    assert path.stat().st_size < 2000
    with pytest.raises(
        ValueError,
        match=r'is not read: it (names|is damaged)|it holds more than|NumPy arrays of numbers',
    ):
        read_checkpoint(str(path))


def opcodes(path: Path, *codes: bytes) -> Path:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', b''.join((b'\x80\x02', *codes, b'.')))
        archive.writestr('archive/version', '3')
    return path


# a pair of a pair of ..., forty deep: whoever hashes it goes through a million million numbers
PAIRS = b'K\x01\x85' + 40 * b'2\x86'
# sets have no hash of their own, frozen ones keep it, but whoever shows them goes through all
FROZEN = b'K\x01\x85' + b''.join(b'q%c0(h%ch%c\x85\x91' % (i, i, i) for i in range(40))
SAME_HASH = b''.join(b'\x8a\x0b' + (k * (2**61 - 1)).to_bytes(11, 'little') + b'K\x01' for k in range(1, 60_000))
# tuples of -1 and -2, which have one hash, differ in none of theirs
SIGNS = [b'(' + b''.join(b'J%c\xff\xff\xff' % (254 + (i >> bit & 1)) for bit in range(13)) + b't' for i in range(8000)]
UNHASHED = {
    'tuples of one hash': (b'}(', b'K\x01'.join(SIGNS), b'K\x01u'),
    'a set of tuples of one hash': (b'cbuiltins\nset\n](', *SIGNS, b'e\x85R'),
    'an ordered dict of tuples of one hash': (
        b'ccollections\nOrderedDict\n](',
        *(b'](' + signs + b'K\x01e' for signs in SIGNS),
        b'e\x85R',
    ),
    'a key': (b'}', PAIRS, b'K\x01s'),
    'several keys': (b'}(', PAIRS, b'K\x01u'),
    'keys in another way': (b'(', PAIRS, b'K\x01d'),
    'a set': (b'cbuiltins\nset\n](', PAIRS, b'e\x85R'),
    'an ordered dict': (b'ccollections\nOrderedDict\n](](', PAIRS, b'K\x01ee\x85R'),
    'the name of a storage': (b'}K\x01((X\x07\0\0\0storagectorch\nFloatStorage\n', PAIRS, b'X\x03\0\0\0cpuK\x01tQs'),
    'a frozen set': (b'}', FROZEN, b'K\x01s'),
    'numbers of one hash': (b'}(', SAME_HASH, b'u'),
}


@pytest.mark.parametrize('attack', UNHASHED)
def test_no_checkpoint_is_hashed_without_end(tmp_path: Path, attack: str) -> None:
    path = opcodes(tmp_path / 'a.pth', *UNHASHED[attack])
    with pytest.raises(ValueError, match=r'is not read: it is damaged'):
        read_checkpoint(str(path))
    with pytest.raises(ValueError, match=r'is not a torch checkpoint: .*(keys and arguments|number beyond all counts)'):
        read_released(path)


def test_keys_of_storages_are_words(tmp_path: Path) -> None:
    path = legacy_by_hand(tmp_path / 'a.pth', {'model': {}})
    path.write_bytes(path.read_bytes().removesuffix(pickled([])) + b'\x80\x02](' + PAIRS + b'e.')
    with pytest.raises(ValueError, match=r'is not read: it is damaged'):
        read_checkpoint(str(path))
    with pytest.raises(ValueError, match='keys of storages that are none'):
        read_released(path)


def test_a_storage_of_many_tensors_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand weights of ten megabytes took minutes."""
    path = zipped(tmp_path / 'a.pth', {'model': {f'w{i}': part for i, part in enumerate(torch.arange(100.0).split(1))}})
    read, names = zipfile.ZipFile.read, []
    monkeypatch.setattr(zipfile.ZipFile, 'read', lambda self, name: names.append(name) or read(self, name))
    assert [weight.item() for weight in read_released(path).values()] == list(range(100))
    assert len([name for name in names if '/data/' in name]) == 1


def test_an_array_of_a_checkpoint_is_filled_by_its_values_alone(tmp_path: Path) -> None:
    """Whatever shape it is to be made in."""
    reconstruct = np.empty(0).__reduce__()[0]
    content = {'state_dict': {}, 'meta': Call(reconstruct, np.ndarray, (10**14,), b'b')}
    assert read_checkpoint(str(by_hand(tmp_path / 'a.pth', content)))['meta'].shape == (0,)
    kept = {'state_dict': {}, 'meta': [np.arange(6.0).reshape(2, 3), np.float32(2), np.ones(2, bool)]}
    read = read_checkpoint(str(zipped(tmp_path / 'b.pth', kept)))['meta']
    assert [(type(item), item.dtype) for item in read] == [(type(item), item.dtype) for item in kept['meta']]
    assert all(np.array_equal(a, b) for a, b in zip(read, kept['meta'], strict=True))


def test_no_memory_behind_the_values_of_a_file_is_read(tmp_path: Path) -> None:
    """A storage of four values that says it has thousands, beyond whose end torch before 2.10 reads, and writes."""
    path = by_hand(tmp_path / 'a.pth', {'state_dict': {'w': tensor_of(4000)}}, b'\0' * 16)
    with pytest.raises(ValueError, match=r'is not read: it is damaged|can be read: record size \(16 bytes\)'):
        read_checkpoint(str(path))


@pytest.mark.torch_since(2, 10)
def test_a_tensor_with_attributes_is_read(tmp_path: Path) -> None:
    weight = torch.arange(6.0)
    weight.note = 'of a strategy'  # type: ignore[attr-defined]
    path = zipped(tmp_path / 'a.pth', {'state_dict': {'a': weight}})
    assert b'_rebuild_from_type_v2' in path.read_bytes()
    assert torch.equal(read_checkpoint(str(path))['state_dict']['a'], weight)
    assert torch.equal(read_released(path)['a'], weight)


def test_released_weights_do_not_repeat_a_storage_without_end(tmp_path: Path) -> None:
    path = by_hand(tmp_path / 'a.pth', {'model': {f'w{i}': tensor_of(2**18) for i in range(2000)}}, b'\0' * 2**20)
    with pytest.raises(ValueError, match=r'its tensors repeat few values and stand for 2\.1e\+09 bytes'):
        read_released(path)


def test_released_weights_claim_no_memory_for_objects_that_are_not_there(tmp_path: Path) -> None:
    """A memo of 2**31 places, in C's unpickler, or an array of bytes before it is read."""
    for opcodes in (b'\x80\x02}r\xff\xff\xff\x7f.', b'\x80\x05\x96\0\0\0\0\x02\0\0\0.'):
        path = tmp_path / 'a.pth'
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('archive/data.pkl', opcodes)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ValueError, match=r'holds no dict of tensors|not a torch checkpoint'):
            read_released(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 10**6  # kilobytes


def test_an_address_leaks_no_memory_either(tmp_path: Path, server: str) -> None:
    legacy_by_hand(tmp_path / 'evil.pth', {'state_dict': {'a': tensor_of(4096, None)}})
    with pytest.raises(ValueError, match=r'evil\.pth is not read: it is damaged'):
        read_checkpoint(f'{server}/evil.pth')


@pytest.mark.parametrize('setting', [{'resume': True}, {'load_from': 'shared.pth'}])
@pytest.mark.parametrize('strategy', ['DeepSpeedStrategy', 'ColossalAIStrategy'])
def test_no_training_reads_checkpoints_by_what_unpickles_them(strategy: str, setting: dict[str, Any]) -> None:
    """They do so themselves, where no hook of ours is asked."""
    cfg = Config({'runner_type': 'FlexibleRunner', 'strategy': {'type': strategy}, **setting})
    with pytest.raises(ValueError, match=rf"strategy\.type: got '{strategy}', allowed: SingleDeviceStrategy"):
        train(cfg)


@pytest.mark.parametrize(
    ('kind', 'done', 'whole'),
    [(ResumableEpochLoop, '_epoch', '_max_epochs'), (ResumableIterLoop, '_iter', '_max_iters')],
)
def test_no_schedule_is_replayed_behind_the_end(kind: type, done: str, whole: str) -> None:
    """A checkpoint may say that as many epochs are behind as a number can say; each would be gone through."""
    loop = kind.__new__(kind)
    loop._feed, loop._iter, loop._epoch, loop._max_iters, loop._max_epochs = SimpleNamespace(), 0, 0, 10, 10
    setattr(loop, done, 10**12)
    setattr(loop, whole, 3)
    loop._adopt_epoch_length()  # and asks for no data, nor for the schedules
    assert getattr(loop, done) == 10**12
