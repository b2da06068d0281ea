"""A resumed training sees every sample that is left, and none that is not, whatever its batches are."""

import signal
from collections import Counter
from itertools import chain, count, islice

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dataset import sampler as sampler_module
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import BatchSampler, Dataset

from mmhybrid.engine.seeding import SeededBatchSampler
from mmhybrid.models.checkpoints import load_local
from mmhybrid.registry import DATA_SAMPLERS
from mmhybrid.utils.errors import CannotGoOnError

SEEN: list[list[int]] = []
RATES: list[float] = []


@MODELS.register_module(force=True)
class PositionToyModel(BaseModel):
    """A linear layer that notes what it is trained on, and the learning rate."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.linear(torch.stack(inputs)).square().mean()}

    def train_step(self, data, optim_wrapper):
        SEEN.append([int(value) for value in data['inputs']])
        RATES.append(optim_wrapper.param_groups[0]['lr'])
        return super().train_step(data, optim_wrapper)


@DATASETS.register_module(force=True)
class PositionToyDataset(Dataset):
    """Samples that are their own number."""

    METAINFO = {}

    def __init__(self, size, name='a'):
        self.size = size
        self.name = name

    def __len__(self):
        return self.size

    def get_data_info(self, index):
        return {'img_path': f'/folder/{self.name}{index}.jpg'}

    def __getitem__(self, index):
        return {'inputs': torch.full((1,), float(index))}


@DATA_SAMPLERS.register_module(force=True)
class NoBatches(BatchSampler):
    """A batch sampler that promises batches and gives none."""

    def __iter__(self):
        return iter(())


SIZE = 24
EPOCHS = {'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 3}
ITERS = {'type': 'mmhybrid.ResumableIterLoop', 'max_iters': 14}
LOOPS = pytest.mark.parametrize('train_cfg', [EPOCHS, ITERS], ids=['epochs', 'iters'])


def make_cfg(folder, train_cfg, batch_size=4, size=SIZE, sampler='DefaultSampler', name='a', **loader):
    by_epoch = 'max_epochs' in train_cfg
    schedules = [
        {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': by_epoch, 'end': 1 if by_epoch else 4},
        {'type': 'CosineAnnealingLR', 'by_epoch': by_epoch, 'begin': 1 if by_epoch else 4},
    ]
    if by_epoch:
        for schedule in schedules:
            schedule['convert_to_iter_based'] = True
    return {
        'model': {'type': 'PositionToyModel'},
        'work_dir': str(folder),
        'experiment_name': f'position-{next(NUMBERS)}',
        'train_dataloader': {
            'batch_size': batch_size,
            'num_workers': 0,
            'dataset': {'type': 'PositionToyDataset', 'size': size, 'name': name},
            'sampler': {'type': sampler, 'shuffle': True},
            **loader,
        },
        'train_cfg': train_cfg,
        'optim_wrapper': {'optimizer': {'type': 'SGD', 'lr': 0.1}},
        'param_scheduler': schedules,
        'default_hooks': {'checkpoint': {'type': 'mmhybrid.AtomicCheckpointHook', 'by_epoch': False, 'interval': 1}},
        'randomness': {'seed': 5},
        'log_level': 'ERROR',
    }


NUMBERS = count()


def train(cfg, resume=None):
    """Batches and learning rates of a training."""
    SEEN.clear()
    RATES.clear()
    if resume is not None:
        cfg = {**cfg, 'load_from': str(resume), 'resume': True}
    Runner.from_cfg(cfg).train()
    return list(SEEN), list(RATES)


@pytest.fixture
def alarm():
    """What used to go on for ever fails after a while."""

    def fail(*_):
        raise TimeoutError('the training does not end')

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@LOOPS
@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        ({'size': 3, 'drop_last': True}, 'its data set has 3 samples, its batch_size is 4 with drop_last'),
        ({'size': 0}, 'its data set has 0 samples'),
        ({'size': 0, 'sampler': 'InfiniteSampler'}, r'0 samples|InfiniteSampler'),
    ],
)
def test_training_without_a_batch_is_refused(train_cfg, settings, told, tmp_path, alarm):
    with pytest.raises(ValueError, match=told):
        train(make_cfg(tmp_path, train_cfg, **settings))


@LOOPS
def test_an_epoch_without_a_batch_ends_the_training(train_cfg, tmp_path, alarm):
    cfg = make_cfg(tmp_path, train_cfg, batch_sampler={'type': 'mmhybrid.NoBatches', 'drop_last': False})
    with pytest.raises(CannotGoOnError, match='epoch 0 has no batch of 4 samples'):
        train(cfg)


def test_an_epoch_without_an_end_is_refused(tmp_path, alarm):
    with pytest.raises(ValueError, match='InfiniteSampler'):
        train(make_cfg(tmp_path, EPOCHS, sampler='InfiniteSampler'))


def test_iterations_repeat_a_small_data_set(tmp_path, alarm):
    seen, _ = train(make_cfg(tmp_path, ITERS, size=3, sampler='InfiniteSampler', drop_last=True))
    assert [len(batch) for batch in seen] == [4] * 14


@LOOPS
def test_loader_without_a_batch_size_is_refused(train_cfg, tmp_path):
    cfg = make_cfg(tmp_path, train_cfg)
    del cfg['train_dataloader']['batch_size']
    with pytest.raises(ValueError, match='train_dataloader has no batch_size'):
        train(cfg)


@LOOPS
@pytest.mark.parametrize('batch_sampler', [None, 'NoBatches'])
def test_loader_tells_its_batch_size(train_cfg, batch_sampler, tmp_path):
    loader = {} if batch_sampler is None else {'batch_sampler': {'type': 'mmhybrid.NoBatches', 'drop_last': True}}
    runner = Runner.from_cfg(make_cfg(tmp_path, train_cfg, **loader))
    found = runner.build_train_loop(runner._train_loop).dataloader
    assert (found.batch_size, found.batch_sampler.batch_size) == (4, 4)
    assert found.batch_sampler.drop_last is (batch_sampler is not None)


@pytest.mark.parametrize('new', [2, 3, 8])
def test_another_batch_size_leaves_no_sample_of_the_epoch_out(new, tmp_path):
    before, _ = train(make_cfg(tmp_path / 'before', EPOCHS))
    whole, rates = train(make_cfg(tmp_path / 'whole', EPOCHS, batch_size=new))
    # nine batches of four: the second epoch has had three of its six
    seen, resumed_rates = train(make_cfg(tmp_path / 'after', EPOCHS, batch_size=new), tmp_path / 'before/iter_9.pth')
    left = -(-12 // new)
    assert Counter(chain(*before[6:9], *seen[:left])) == Counter(range(SIZE))
    assert seen[left:] == whole[2 * SIZE // new :]
    assert resumed_rates == pytest.approx(rates[-len(seen) :])  # the schedule ends with the training
    last = load_local(tmp_path / f'after/iter_{3 * SIZE // new}.pth', 'cpu')['meta']
    assert (last['epoch'], last['iter']) == (2, 3 * SIZE // new)


def test_batch_sizes_may_change_twice_in_an_epoch(tmp_path):
    first, _ = train(make_cfg(tmp_path / 'a', EPOCHS))
    second, _ = train(make_cfg(tmp_path / 'b', EPOCHS, batch_size=2), tmp_path / 'a/iter_8.pth')
    # two batches of four and two of two; in batches of two that is the 16th iteration
    third, _ = train(make_cfg(tmp_path / 'c', EPOCHS, batch_size=6), tmp_path / 'b/iter_18.pth')
    assert Counter(chain(*first[6:8], *second[:2], *third[:2])) == Counter(range(SIZE))


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
def test_another_batch_size_goes_on_in_an_endless_order(sampler, tmp_path):
    whole = list(chain(*train(make_cfg(tmp_path / 'before', ITERS, sampler=sampler))[0]))
    cfg = make_cfg(tmp_path / 'after', ITERS, batch_size=6, sampler=sampler)
    seen, rates = train(cfg, tmp_path / 'before/iter_9.pth')
    assert len(seen) == 5 == len(rates)
    assert list(chain(*seen))[:20] == whole[36:56]


def test_learning_rates_are_scaled_anew(tmp_path):
    """With ``auto_scale_lr`` another batch size has another rate, though the checkpoint holds the old one."""
    train(make_cfg(tmp_path / 'before', ITERS) | {'auto_scale_lr': {'base_batch_size': 4, 'enable': True}})
    cfg = make_cfg(tmp_path / 'after', ITERS, batch_size=8) | {'auto_scale_lr': {'base_batch_size': 4, 'enable': True}}
    _, whole = train({**cfg, 'experiment_name': 'scaled', 'work_dir': str(tmp_path / 'whole')})
    assert whole[-1] > 0
    assert train(cfg, tmp_path / 'before/iter_9.pth')[1] == pytest.approx(whole[9:])


@LOOPS
@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        ({'size': 30}, 'another dataset: the checkpoint has PositionToyDataset of 24 samples .* of 30 samples'),
        ({'name': 'b'}, 'another dataset: .* of 24 samples .digest'),
        ({'shuffle': False}, r'another sampler: the checkpoint has DefaultSampler\(.*shuffle=True\).*shuffle=False'),
        ({'batch_sampler': {'type': 'mmhybrid.NoBatches', 'drop_last': False}}, 'another batch_sampler'),
    ],
)
def test_another_order_is_refused_within_an_epoch(train_cfg, settings, told, tmp_path):
    train(make_cfg(tmp_path / 'before', train_cfg))
    settings = dict(settings)
    if 'shuffle' in settings:
        settings['sampler'] = {'type': 'DefaultSampler', 'shuffle': settings.pop('shuffle')}
    cfg = make_cfg(tmp_path / 'after', train_cfg)
    cfg['train_dataloader']['dataset'] |= {key: settings.pop(key) for key in ('size', 'name') if key in settings}
    cfg['train_dataloader'] |= settings
    with pytest.raises(ValueError, match=told):
        train(cfg, tmp_path / 'before/iter_9.pth')


def test_another_data_set_may_begin_with_an_epoch(tmp_path):
    train(make_cfg(tmp_path / 'before', EPOCHS))
    cfg = make_cfg(tmp_path / 'after', EPOCHS, size=32)
    checkpoint = load_local(tmp_path / 'before/iter_6.pth', 'cpu')
    checkpoint['meta']['epoch'] = 1  # as a checkpoint by epochs has it
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    _, whole = train(make_cfg(tmp_path / 'whole', EPOCHS, size=32))
    seen, rates = train(cfg, tmp_path / 'epoch_1.pth')
    assert Counter(chain(*seen[:8])) == Counter(range(32))
    assert rates == pytest.approx(whole[8:])


@LOOPS
def test_checkpoints_without_a_position_resume(train_cfg, tmp_path):
    whole, _ = train(make_cfg(tmp_path / 'before', train_cfg))
    checkpoint = load_local(tmp_path / 'before/iter_9.pth', 'cpu')
    del checkpoint['message_hub']['runtime_info']['data_position']
    checkpoint['message_hub']['resumed_keys'].pop('data_position')
    if train_cfg is EPOCHS:  # MMEngine's loop resumes at the beginning of an epoch
        checkpoint['meta'] |= {'epoch': 1, 'iter': 6}
    torch.save(checkpoint, tmp_path / 'old.pth')
    seen, _ = train(make_cfg(tmp_path / 'after', train_cfg), tmp_path / 'old.pth')
    assert seen == whole[6 if train_cfg is EPOCHS else 9 :]


@pytest.mark.parametrize(
    ('field', 'value', 'most'),
    [('samples', 2**60, 9 * 2**14), ('samples', 9 * 2**14 + 1, 9 * 2**14), ('epoch', 10**30, 9)],
)
def test_a_position_is_one_that_its_iterations_reach(field, value, most, tmp_path, alarm):
    """Samples that a file calls used are left out one by one, of a sampler that never ends without end."""
    cfg = make_cfg(tmp_path / 'before', ITERS, sampler='InfiniteSampler')
    train(cfg)
    checkpoint = load_local(tmp_path / 'before/iter_9.pth', 'cpu')
    checkpoint['message_hub']['runtime_info']['data_position'][field] = value
    torch.save(checkpoint, tmp_path / 'far.pth')
    after = make_cfg(tmp_path / 'after', ITERS, sampler='InfiniteSampler')
    with pytest.raises(ValueError, match=rf'data_position\.{field}: got {value}, allowed: an int from 0 to {most}$'):
        train(after, tmp_path / 'far.pth')


def test_a_training_that_is_over_leaves_nothing_out(tmp_path, alarm):
    """Its checkpoint may say any number of iterations."""
    train(make_cfg(tmp_path / 'before', ITERS, sampler='InfiniteSampler'))
    checkpoint = load_local(tmp_path / 'before/iter_9.pth', 'cpu')
    checkpoint['message_hub']['runtime_info']['data_position']['samples'] = 2**50
    checkpoint['meta']['iter'] = 2**50
    torch.save(checkpoint, tmp_path / 'over.pth')
    after = make_cfg(tmp_path / 'after', ITERS, sampler='InfiniteSampler', num_workers=1, persistent_workers=True)
    assert train(after, tmp_path / 'over.pth')[0] == []


@pytest.mark.parametrize('kind', [DefaultSampler, InfiniteSampler])
@pytest.mark.parametrize('processes', [1, 2, 3, 6])
def test_another_number_of_processes_goes_on(kind, processes, monkeypatch):
    """Four processes have used 32 of 60 samples; what n processes use next is the rest, and no other sample."""

    def draw(number, samples, batches):
        found = []
        for rank in range(number):
            monkeypatch.setattr(sampler_module, 'get_dist_info', lambda rank=rank: (rank, number))
            sampler = kind(PositionToyDataset(60), shuffle=True, seed=3)
            seeded = SeededBatchSampler(sampler, 2, {'type': BatchSampler, 'drop_last': False})
            seeded.seek(3, 0, 0, (1,), samples // number)
            found += [index for batch in islice(seeded, batches) for index in batch]
        return found

    used = draw(4, 0, 4)
    assert len(set(used)) == 32
    rest = draw(processes, 32, 28 // processes // 2)
    repeated = 32 % processes  # less than one sample a process
    assert len(set(used) & set(rest)) == repeated
    assert len(rest) == len(set(rest)) == 28 // processes // 2 * 2 * processes
