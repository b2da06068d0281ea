import json
import os
import random
from itertools import count, islice

import numpy as np
import pytest
import torch
from fresh_python import run_tool
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.training import train
from mmhybrid.engine.seeding import STEP_SLOT, SeededBatchSampler, seed_generators
from mmhybrid.models.checkpoints import load_local

SIZE = 22
BATCH_SIZE = 4
EPOCH = 6  # ceil(22 / 4) batches


class NoisyDataset(Dataset):
    """Samples that draw from every global generator, a different number of times each."""

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        noise = [[random.random(), np.random.rand(), torch.rand(()).item()] for _ in range(1 + index % 3)]  # noqa: NPY002
        return index, noise[-1]


def make_batches(sampler='DefaultSampler', seed=3, skip=0, iteration=0, epochs=(0,)):
    samplers = {'DefaultSampler': DefaultSampler, 'InfiniteSampler': InfiniteSampler}
    batches = SeededBatchSampler(
        samplers[sampler](NoisyDataset(), shuffle=True, seed=99),
        BATCH_SIZE,
        {'type': BatchSampler, 'drop_last': False},
    )
    batches.seek(seed, iteration, skip, epochs)
    return batches


def load(num_workers, limit=None, dataset=None, **position):
    loader = DataLoader(
        dataset or NoisyDataset(),
        batch_sampler=make_batches(**position),
        num_workers=num_workers,
        collate_fn=pseudo_collate,
    )
    return [repr(batch) for batch in islice(loader, limit)]


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_seeds_are_a_function_of_their_key():
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2**31, 7, 10**7, 4096)]
    draws = []
    for key in keys:
        seed_generators(*key)
        draws.append(draw())
        draw()
        seed_generators(*key)
        assert draw() == draws[-1]
    for values in zip(*draws, strict=True):
        assert len(set(values)) == len(keys)


def test_samples_and_step_of_an_iteration_have_different_seeds():
    (batch,) = list(make_batches(epochs=(0,)))[:1]
    draws = [draw() for _ in batch]
    seed_generators(3, 0, 0, STEP_SLOT)
    assert len({*draws, draw()}) == BATCH_SIZE + 1


def test_order_follows_from_seed_and_epoch():
    order = {key: [b.indices for b in make_batches(seed=key[0], epochs=(key[1],))] for key in [(3, 0), (3, 1), (9, 0)]}
    assert order[3, 0] == [b.indices for b in make_batches(seed=3, epochs=(0,))]
    assert len({str(value) for value in order.values()}) == 3
    for batches in order.values():
        assert sorted(sum(batches, ())) == list(range(SIZE))
        assert len(batches) == EPOCH == len(make_batches())


@pytest.mark.parametrize('skip', [0, 1, 5, EPOCH])
def test_starts_anywhere_in_an_epoch(skip):
    whole = list(make_batches(iteration=12, epochs=(2,)))
    assert list(make_batches(iteration=12 + skip, skip=skip, epochs=(2,))) == whole[skip:]


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
@pytest.mark.parametrize('skip', [3, EPOCH, 2 * EPOCH + 1])
def test_starts_anywhere_in_an_endless_order(sampler, skip):
    whole = list(islice(make_batches(sampler, epochs=count()), 3 * EPOCH))
    rest = make_batches(sampler, iteration=skip, skip=skip, epochs=count())
    assert list(islice(rest, 3 * EPOCH - skip)) == whole[skip:]
    assert len({batch.indices for batch in whole}) > EPOCH


def test_skipped_samples_are_not_loaded():
    class Picky(NoisyDataset):
        def __getitem__(self, index):
            assert index not in skipped
            return super().__getitem__(index)

    skipped = {index for batch in islice(make_batches(), 4) for index in batch}
    assert len(load(0, dataset=Picky(), skip=4, iteration=4)) == EPOCH - 4


@pytest.mark.parametrize('num_workers', [1, 2])
def test_samples_do_not_depend_on_workers(num_workers):
    whole = load(0)
    assert load(num_workers) == whole
    assert load(num_workers, skip=3, iteration=3) == whole[3:]
    assert len(set(whole)) == EPOCH


def test_samples_of_a_subset_do_not_depend_on_workers():
    subset = Subset(NoisyDataset(), list(reversed(range(SIZE))))  # fetches whole batches
    assert load(2, dataset=subset, skip=2, iteration=2) == load(0, dataset=subset)[2:]


@pytest.mark.parametrize('persistent', [False, True])
def test_each_epoch_has_its_own_order_and_augmentation(persistent):
    batches = make_batches()
    loader = DataLoader(
        NoisyDataset(), batch_sampler=batches, num_workers=2, persistent_workers=persistent, collate_fn=list
    )
    epochs = []
    for epoch in range(2):
        batches.seek(3, epoch * EPOCH, 0, (epoch,))
        epochs.append([sample for batch in loader for sample in batch])
    first, second = (dict(samples) for samples in epochs)
    assert list(first) != list(second)
    assert all(first[index] != second[index] for index in range(SIZE))
    assert str(epochs[1]) == str([sample for batch in load_epoch(1) for sample in batch])


def load_epoch(epoch):
    batches = make_batches(iteration=epoch * EPOCH, epochs=(epoch,))
    return DataLoader(NoisyDataset(), batch_sampler=batches, collate_fn=list)


def test_repeated_augmentation_resumes():
    from mmpretrain.datasets import RepeatAugSampler

    def load_all(**position):
        sampler = RepeatAugSampler(NoisyDataset(), num_repeats=3, seed=99)
        batches = SeededBatchSampler(sampler, BATCH_SIZE, {'type': BatchSampler, 'drop_last': False})
        batches.seek(3, epochs=(1,), **position)
        return list(DataLoader(NoisyDataset(), batch_sampler=batches, num_workers=2, collate_fn=list))

    whole = load_all(iteration=6, skip=0)
    samples = [sample for batch in whole for sample in batch]
    assert len({index for index, _ in samples}) == -(-SIZE // 3)
    assert len({str(noise) for _, noise in samples}) == len(samples) == SIZE
    assert load_all(iteration=10, skip=4) == whole[4:]


@pytest.mark.dense
def test_batches_by_aspect_ratio_resume():
    pytest.importorskip('mmdet')
    from mmdet.datasets.samplers import AspectRatioBatchSampler

    class Photos(NoisyDataset):
        def get_data_info(self, index):
            return {'width': 1 + index % 3, 'height': 2}

    def list_all(**position):
        sampler = DefaultSampler(Photos(), seed=99)
        batches = SeededBatchSampler(sampler, BATCH_SIZE, {'type': AspectRatioBatchSampler, 'drop_last': True})
        batches.seek(3, epochs=(1,), **position)
        return list(batches)

    whole = list_all(iteration=6, skip=0)
    assert len({index % 3 == 0 for index in whole[0]}) == 1
    assert list_all(iteration=8, skip=2) == whole[2:]


CONFIG = """
custom_imports = dict(imports=['mmhybrid'], allow_failed_imports=False)
default_scope = 'mmpretrain'
arch = dict(embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'local', 'local', 'mhsa'],
            local_kernels=[3] * 4, num_slots=[16] * 4)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhybrid.GLNet', arch=arch, drop_path_rate=0.4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=32,
              loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
if {supernet}:
    space = dict(type='mmhybrid.GLNetSpace', widths=[[32]] * 4, depths=[[1], [1], [1, 2], [1]], num_slots=[4, 9])
    model['backbone'] = dict(
        type='mmhybrid.Supernet', space=space, backbone=dict(type='mmhybrid.GLNet', drop_path_rate=0.4))
    mutator = dict(type='mmhybrid.SandwichMutator', num_random=1, seed=3)
    model = dict(type='mmhybrid.OneShot', architecture=model, mutator=mutator)
data_preprocessor = dict(num_classes=3, mean=[128] * 3, std=[64] * 3, to_rgb=True)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=64),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomErasing', erase_prob=0.5, mode='rand'),
    dict(type='PackInputs')]
dataset = dict(type='CustomDataset', data_root={images!r}, pipeline=pipeline)
train_dataloader = dict(batch_size=4, num_workers=2, dataset=dataset,
                        sampler=dict(type={sampler!r}, shuffle=True))
val_dataloader = dict(batch_size=16, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=True))
val_evaluator = dict(type='Accuracy', topk=1)
val_cfg = dict()
train_cfg = {train_cfg!r}
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=8),
                   dict(type='CosineAnnealingLR', by_epoch={by_epoch})]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', by_epoch=False, interval=5, max_keep_ckpts=2))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
log_processor = dict(by_epoch={by_epoch}, window_size=1)
env_cfg = dict(mp_cfg=dict(opencv_num_threads=1))
"""

KILLER = """
import os
import signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillHook(Hook):
    priority = 'LOWEST'

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED_CONFIG = """
_base_ = 'whole.py'
custom_imports = dict(imports=['mmhybrid', 'killer'], allow_failed_imports=False)
custom_hooks = [dict(type='EMAHook', momentum=0.1), dict(type='KillHook', at={at})]
"""

LOOPS = {
    'epoch': {
        'train_cfg': {'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 2},
        'sampler': 'DefaultSampler',
        'by_epoch': True,
        'supernet': False,
    },
    'supernet': {
        'train_cfg': {'type': 'mmhybrid.ResumableEpochLoop', 'max_epochs': 2},
        'sampler': 'DefaultSampler',
        'by_epoch': True,
        'supernet': True,
    },
    'iter': {
        'train_cfg': {'type': 'mmhybrid.ResumableIterLoop', 'max_iters': 24, 'val_interval': 12},
        'sampler': 'InfiniteSampler',
        'by_epoch': False,
        'supernet': False,
    },
}


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    from PIL import Image

    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for label in range(3):
        (root / str(label)).mkdir()
        for number in range(16):
            pixels = rng.integers(0, 256, (64, 64, 3), np.uint8) // (label + 1)
            Image.fromarray(pixels).save(root / str(label) / f'{number}.jpg')
    return str(root)


def read_losses(work_dir):
    """Losses by iteration, of the last run in the folder."""
    log = max(work_dir.glob('*/vis_data/scalars.json'), key=os.path.getmtime)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return {record['step']: record['loss'] for record in records if 'loss' in record}


SEED = ('--cfg-options', 'randomness.seed=7')


@pytest.mark.parametrize(('loop', 'kill_at', 'resumed_at'), [('epoch', 18, 15), ('iter', 8, 5), ('supernet', 18, 15)])
def test_killed_run_continues_exactly(loop, kill_at, resumed_at, images, tmp_path, one_thread):
    (tmp_path / 'whole.py').write_text(CONFIG.format(images=images, **LOOPS[loop]))
    (tmp_path / 'killed.py').write_text(KILLED_CONFIG.format(at=kill_at))
    (tmp_path / 'killer.py').write_text(KILLER)

    train(load_config(str(tmp_path / 'whole.py'), {'randomness.seed': 7}, str(tmp_path / 'whole')))
    whole = read_losses(tmp_path / 'whole')
    assert list(whole) == list(range(1, 25))

    (killed,) = run_tool('train', 'killed.py', '--work-dir', 'killed', *SEED, cwd=tmp_path, folders=[tmp_path])
    assert killed.returncode == -9, killed.stderr
    for log in (tmp_path / 'killed').glob('*/vis_data/scalars.json'):
        log.unlink()  # folders are named by the second, and a fast machine writes into it again

    # the config names no seed, and its own generators are wherever this process left them
    cfg = load_config(str(tmp_path / 'whole.py'), work_dir=str(tmp_path / 'killed'))
    cfg.resume = True
    train(cfg)
    resumed = read_losses(tmp_path / 'killed')
    assert list(resumed) == list(range(resumed_at + 1, 25))
    assert resumed == {step: whole[step] for step in resumed}

    last = [load_local(tmp_path / name / 'iter_24.pth', 'cpu') for name in ('whole', 'killed')]
    for part in ('state_dict', 'ema_state_dict'):
        assert last[0][part].keys() == last[1][part].keys()
        for name, value in last[0][part].items():
            assert torch.equal(value, last[1][part][name]), name
