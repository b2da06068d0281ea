import errno
import os
import re
import runpy
import socket
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmhybrid.apis.configs import load_config
from mmhybrid.models.checkpoints import load_local

ROOT = Path(__file__).resolve().parents[2]


@MODELS.register_module(force=True)
class CliToyModel(BaseModel):
    """A linear layer that rejects a wrong width as our models do, and can fail in training."""

    def __init__(self, width=2, breaks=False):
        super().__init__()
        if width < 1:
            raise ValueError(f'width: got {width}, allowed: an integer >= 1')
        self.linear = nn.Linear(width, 1)
        self.breaks = breaks

    def forward(self, inputs, mode='tensor'):
        if self.breaks:
            raise ValueError('a bug in training')
        out = self.linear(torch.stack(inputs))
        return {'loss': out.square().mean()} if mode == 'loss' else list(out)


@DATASETS.register_module(force=True)
class CliToyDataset(Dataset):
    """Four samples of two numbers."""

    METAINFO = {}

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {'inputs': torch.full((2,), float(index))}


# MMEngine keeps a logger for each experiment and second
CONFIG = """
experiment_name = __import__('uuid').uuid4().hex
model = dict(type='CliToyModel')
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(type='CliToyDataset'),
                        sampler=dict(type='DefaultSampler', shuffle=True))
test_dataloader = train_dataloader
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=1)
test_cfg = dict()
test_evaluator = dict(type='DumpResults', out_file_path='results.pkl')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', interval=1))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.py').write_text(CONFIG)
    return tmp_path


@pytest.fixture
def trained(folder):
    run('train', 'config.py', '--work-dir', 'trained')
    return folder / 'trained' / 'epoch_1.pth'


def run(tool, *arguments):
    runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'))['main']([str(item) for item in arguments])


def fail(capfd, tool, *arguments):
    """The sentence with which a tool ends."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as info:
        run(tool, *arguments)
    assert info.value.code == 2
    errors = capfd.readouterr().err
    assert 'Traceback' not in errors
    sentences = [line for line in errors.splitlines() if 'Warning' not in line and not line.startswith('  ')]
    assert len(sentences) == 1, errors
    return sentences[0]


def test_trains_resumes_and_tests(trained):
    assert trained.exists()
    run('train', 'config.py', '--work-dir', 'trained', '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    assert trained.with_name('epoch_2.pth').exists()
    run('test', 'config.py', trained, '--work-dir', 'tested', '--out', 'predictions.pkl')
    assert Path('predictions.pkl').exists()


def test_resumes_in_a_moved_work_folder(trained):
    trained.parent.rename(trained.parent.with_name('moved'))
    run('train', 'config.py', '--work-dir', 'moved', '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    assert Path('moved/epoch_2.pth').exists()
    logs = Path('moved').glob('*/*.log')  # one for both runs, if they began within a second
    assert any('resumed epoch: 1' in log.read_text() for log in logs)


def test_resuming_without_the_named_checkpoint(trained, capfd):
    trained.unlink()
    sentence = fail(capfd, 'train', 'config.py', '--work-dir', 'trained', '--resume')
    assert 'which is neither there nor beside it' in sentence


def test_the_first_start_with_resume_takes_load_from(trained):
    weights = load_local(trained, 'cpu')
    torch.save({'state_dict': {name: value * 0 for name, value in weights['state_dict'].items()}}, 'zeros.pth')
    options = ['--cfg-options', 'load_from=zeros.pth', 'optim_wrapper.optimizer.lr=0']
    run('train', 'config.py', '--work-dir', 'first', '--resume', *options)
    found = load_local('first/epoch_1.pth', 'cpu')['state_dict']
    assert not any(value.any() for value in found.values())


def test_test_time_augmentation_needs_a_pipeline(trained, capfd):
    assert 'no test pipeline' in fail(capfd, 'test', 'config.py', trained, '--tta')


def test_work_dir_defaults_to_the_name_of_the_config(folder):
    run('train', 'config.py')
    assert (folder / 'work_dirs' / 'config' / 'epoch_1.pth').exists()


def test_learning_rate_is_scaled_with_the_batch_size(folder):
    options = ['--cfg-options', 'auto_scale_lr.base_batch_size=8']
    run('train', 'config.py', '--work-dir', 'scaled', '--auto-scale-lr', *options)
    run('train', 'config.py', '--work-dir', 'plain', *options)
    rates = [
        load_local(folder / name / 'epoch_1.pth', 'cpu')['optimizer']['param_groups'][0]['lr']
        for name in ('scaled', 'plain')
    ]
    assert rates == pytest.approx([0.1 * 2 / 8, 0.1])


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_missing_config(tool, folder, capfd):
    arguments = ['nowhere.pth'] if tool == 'test' else []
    assert fail(capfd, tool, 'nowhere.py', *arguments) == 'config nowhere.py does not exist'


@pytest.mark.parametrize(
    ('content', 'told'),
    [('model = dict(', 'SyntaxError'), ('x = 1 / 0', 'ZeroDivisionError'), ("_base_ = 'no.py'", 'no.py')],
)
def test_broken_config(content, told, folder, capfd):
    (folder / 'broken.py').write_text(content)
    sentence = fail(capfd, 'train', 'broken.py')
    assert 'broken.py' in sentence
    assert told in sentence


@pytest.mark.parametrize('option', ['optim_wraper.optimizer.lr=1', 'epochs=3', 'self=1', 'cfg=1'])
def test_unknown_option(option, folder, capfd):
    sentence = fail(capfd, 'train', 'config.py', '--cfg-options', option)
    assert repr(option.split('.')[0].split('=')[0]) in sentence
    assert 'optim_wrapper' in sentence


def test_known_options(folder):
    (folder / 'config.py').write_text('mine = 1')
    cfg = load_config('config.py', {'mine': 2, 'randomness.seed': 3, 'auto_scale_lr.enable': True, 'compile': True})
    assert (cfg.mine, cfg.randomness.seed, cfg.auto_scale_lr.enable, cfg.compile) == (2, 3, True, True)


def test_option_without_a_place(folder, capfd):
    (folder / 'list.py').write_text('custom_hooks = []')
    assert '--cfg-options' in fail(capfd, 'train', 'list.py', '--cfg-options', 'custom_hooks.3.at=1')


def test_auto_scale_lr_without_base(folder, capfd):
    assert 'base_batch_size' in fail(capfd, 'train', 'config.py', '--auto-scale-lr')


@pytest.mark.parametrize(
    ('option', 'told'),
    [
        ('model.width=0', 'width: got 0, allowed: an integer >= 1'),
        ('model.depth=1', 'depth'),
        ('model.type=Nothing', 'Nothing is not in the'),
        ('train_dataloader.dataset.type=Nothing', 'Nothing is not in the'),
        ('optim_wrapper.optimizer.lr=-1', 'Invalid learning rate: -1'),
        ('train_cfg.max_iters=3', 'max_iters'),
        ('load_from=nowhere.pth', 'checkpoint nowhere.pth does not exist'),
    ],
)
def test_wrong_component(option, told, folder, capfd):
    assert told in fail(capfd, 'train', 'config.py', '--cfg-options', option)


def test_an_error_in_training_keeps_its_traceback(folder):
    with pytest.raises(ValueError, match='a bug in training'):
        run('train', 'config.py', '--cfg-options', 'model.breaks=True')


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_checkpoint_that_does_not_fit(tool, trained, capfd):
    def fail_with(weights):
        torch.save({**checkpoint, 'state_dict': weights}, 'other.pth')
        resume = ['--resume'] if tool == 'train' else []
        return fail(capfd, tool, 'config.py', *resume, 'other.pth')

    checkpoint = load_local(trained, 'cpu')
    weights = checkpoint['state_dict']
    assert 'missing linear.bias' in fail_with({'linear.weight': weights['linear.weight']})
    assert 'surplus head' in fail_with({**weights, 'head': torch.zeros(1)})
    assert 'linear.bias' in fail_with({**weights, 'linear.bias': torch.zeros(3)})


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_checkpoint_that_cannot_be_read(tool, folder, capfd):
    resume = ['--resume'] if tool == 'train' else []
    assert 'nowhere.pth does not exist' in fail(capfd, tool, 'config.py', *resume, 'nowhere.pth')
    Path('text.pth').write_text('no checkpoint')
    assert 'text.pth' in fail(capfd, tool, 'config.py', *resume, 'text.pth')
    torch.save({'state_dict': {}, 'trap': Path('x')}, 'trap.pth')  # a class torch.load does not allow
    assert 'trap.pth' in fail(capfd, tool, 'config.py', *resume, 'trap.pth')


def test_nothing_of_load_from_fits(trained, capfd):
    weights = load_local(trained, 'cpu')['state_dict']
    torch.save({'state_dict': {f'_orig_mod.{name}': value for name, value in weights.items()}}, 'compiled.pth')
    sentence = fail(capfd, 'train', 'config.py', '--cfg-options', 'load_from=compiled.pth')
    assert 'compiled.pth fits nothing of CliToyModel: it has _orig_mod.linear.weight' in sentence
    assert "begin with '_orig_mod.'" in sentence
    run('train', 'config.py', '--cfg-options', f'load_from={trained}')


def test_resuming_needs_the_state_of_a_training(trained, capfd):
    torch.save({'state_dict': load_local(trained, 'cpu')['state_dict']}, 'weights.pth')
    assert 'lacks meta' in fail(capfd, 'train', 'config.py', '--resume', 'weights.pth')


def test_predictions_go_to_a_pickle_file(folder, capfd):
    with pytest.raises(SystemExit) as info:
        run('test', 'config.py', 'nowhere.pth', '--out', 'predictions.json')
    assert info.value.code == 2
    assert '.pkl' in capfd.readouterr().err


# The place a tool runs in


@pytest.mark.parametrize(
    ('launcher', 'variable'), [('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_LOCAL_RANK'), ('pytorch', 'RANK')]
)
@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_launcher_that_did_not_start_the_process(tool, launcher, variable, folder, capfd, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    arguments = ['nowhere.pth'] if tool == 'test' else []
    told = fail(capfd, tool, 'config.py', *arguments, '--launcher', launcher)
    assert told.startswith(f'--launcher {launcher}: {variable} is not set')


@pytest.mark.torch_since(2, 6)  # before, torch prints lines of its own beside ours
def test_a_port_in_use(folder, capfd, monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        variables = {'RANK': 0, 'WORLD_SIZE': 1, 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'LOCAL_RANK': 0}
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        told = fail(capfd, 'train', 'config.py', '--launcher', 'pytorch')
    assert told.startswith('--launcher pytorch: the ranks do not find each other: ')
    assert str(port) in told


@pytest.mark.parametrize(
    ('work_dir', 'told'),
    [
        ('config.py', 'config.py'),
        ('config.py/inside', 'config.py'),
        ('x' * 300, 'File name too long'),
        ('s3://bucket/work', "got 's3://bucket/work', allowed: a folder of this machine"),
        ('/proc/work', '/proc/work'),
    ],
)
@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_work_dir_that_cannot_be_one(tool, work_dir, told, trained, capfd):
    arguments = [trained] if tool == 'test' else []
    assert told in fail(capfd, tool, 'config.py', *arguments, '--work-dir', work_dir)


@pytest.mark.parametrize('place', ['s3://bucket/file.pth', 'petrel://file.pth', 'y' * 300, 'config.py/file.pth', ''])
def test_a_checkpoint_from_nowhere(place, folder, capfd):
    assert fail(capfd, 'test', 'config.py', place)
    if place:
        assert fail(capfd, 'train', 'config.py', '--cfg-options', f'load_from={place}')


def test_checkpoints_to_nowhere(folder, capfd):
    told = fail(capfd, 'train', 'config.py', '--cfg-options', 'default_hooks.checkpoint.out_dir=s3://bucket')
    assert "out_dir: got 's3://bucket'" in told


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more(code, folder, capfd, monkeypatch):
    """It shows when a checkpoint is written, in the middle of the work."""

    def full(file):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, 'fsync', full)
    told = fail(capfd, 'train', 'config.py', '--work-dir', 'work')
    assert os.strerror(code) in told
    assert 'work/epoch_1.pth' in told
    assert not [path for path in (folder / 'work').iterdir() if path.suffix != '.py' and path.is_file()]


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        ('model = 5', 'model: got 5, allowed: a dict'),
        ('model = dict(type=5)', 'model.type: got 5'),
        ('model = dict(type="CliToyModel", width="x")', 'cannot be built: TypeError'),
        ('custom_hooks = dict(type="EMAHook")', 'custom_hooks: got'),
        ('custom_hooks = ["EMAHook"]', 'custom_hooks: got'),
        ('train_cfg = 3', 'train_cfg: got 3'),
        ('optim_wrapper = "SGD"', "optim_wrapper: got 'SGD'"),
        ('optim_wrapper = dict(optimizer=dict(type="SGD", lr="x"))', "optim_wrapper.optimizer.lr: got 'x'"),
        ('param_scheduler = "cosine"', "param_scheduler: got 'cosine'"),
        ('search_cfg = []', 'search_cfg: got []'),
        ('train_dataloader = dict(num_workers="x")', "train_dataloader.num_workers: got 'x'"),
        ('train_dataloader = dict(batch_size=0)', 'train_dataloader.batch_size: got 0'),
        ('data_preprocessor = dict(mean="x")', "data_preprocessor.mean: got 'x'"),
        ('val_evaluator = dict(type="Accuracy", topk="x")', "val_evaluator.topk: got 'x'"),
        ('env_cfg = None', 'env_cfg: got None'),
        ('default_scope = []', 'default_scope: got []'),
    ],
)
def test_values_of_a_wrong_kind(settings, named, folder, capfd):
    (folder / 'config.py').write_text(CONFIG + '\n' + settings)
    assert named in fail(capfd, 'train', 'config.py')


@pytest.mark.parametrize('pairs', [['lr'], ['a=[1'], ['=1']])
def test_options_that_are_no_pairs(pairs, folder, capfd):
    with pytest.raises(SystemExit) as info:
        run('train', 'config.py', '--cfg-options', *pairs)
    assert info.value.code == 2
    assert 'Traceback' not in capfd.readouterr().err


def test_what_does_not_fit_together_is_told_with_its_place(folder, capfd):
    """Torch finds it in the first iteration; an error in the user's own code keeps its traceback (above)."""
    told = fail(capfd, 'train', 'config.py', '--cfg-options', 'model.width=3')
    assert 'what the config describes does not work together: RuntimeError: mat1 and mat2' in told
    assert re.search(r'\(\S+\.py, line \d+\)$', told)


@pytest.mark.parametrize(
    'content',
    [
        {'state_dict': 5},
        {'state_dict': [torch.ones(1)]},
        {'state_dict': {0: torch.ones(1)}},
        {0: torch.ones(1)},
        {'state_dict': {'linear.weight': 'x', 'linear.bias': None}},
    ],
)
def test_checkpoints_that_hold_no_weights(content, folder, capfd):
    torch.save(content, 'other.pth')
    assert 'other.pth' in fail(capfd, 'test', 'config.py', 'other.pth')
    assert 'other.pth' in fail(capfd, 'train', 'config.py', '--cfg-options', 'load_from=other.pth')


@pytest.mark.parametrize('share', [0.1, 0.5, 0.9, 0.99])
def test_a_legacy_checkpoint_that_was_cut_short(share, folder, capfd):
    torch.save({'state_dict': {'linear.weight': torch.ones(1, 2)}}, 'old.pth', _use_new_zipfile_serialization=False)
    content = Path('old.pth').read_bytes()
    Path('old.pth').write_bytes(content[: int(len(content) * share)])
    assert 'old.pth' in fail(capfd, 'test', 'config.py', 'old.pth')
