import os
from contextlib import suppress
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import FlexibleRunner

from mmhybrid.engine.checkpoint import AtomicBackend, AtomicCheckpointHook


class Killed(BaseException):
    """Stands in for SIGKILL: nothing in the project catches it."""


class FakeRunner:
    """Saves its iteration as a checkpoint, and can be killed before any write or removal."""

    def __init__(self, work_dir):
        self.work_dir = str(work_dir)
        self.message_hub = MessageHub.get_instance(str(work_dir))
        self.logger = MMLogger.get_current_instance()
        self.optim_wrapper = None
        self.epoch = 0
        self.iter = 0
        self.train_loop = SimpleNamespace(stop_training=False)
        self.max_iters = 100

    def save_checkpoint(self, out_dir, filename, file_client_args=None, backend_args=None, **settings):
        assert backend_args == {'backend': 'mmhybrid.atomic'}
        AtomicBackend().put(b'weights %d' % self.iter, os.path.join(out_dir, filename))

    def step(self, hook):
        hook.after_train_iter(self, self.iter)
        self.iter += 1


class FakeFlexibleRunner(FakeRunner, FlexibleRunner):
    """Writes its files itself."""

    # attributes in the place of properties
    work_dir = message_hub = logger = optim_wrapper = epoch = iter = train_loop = max_iters = None

    def save_checkpoint(self, out_dir, filename, *arguments, **settings):
        with open(os.path.join(out_dir, filename), 'wb') as file:
            file.write(b'weights %d' % self.iter)


def read_latest(work_dir):
    return open((work_dir / 'last_checkpoint').read_text(), 'rb').read()


def test_a_file_appears_complete(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'file'
    AtomicBackend().put(b'old', path)

    def kill(*_):
        raise Killed

    monkeypatch.setattr(os, 'fsync', kill)
    with pytest.raises(Killed):
        AtomicBackend().put(b'new', path)
    assert path.read_bytes() == b'old'
    monkeypatch.undo()
    AtomicBackend().put_text('new', path)
    assert path.read_text() == 'new'
    assert os.listdir(path.parent) == ['file']


@pytest.mark.parametrize('keep', [1, 2, -1])
def test_keeps_the_latest(keep, tmp_path):
    runner, hook = FakeRunner(tmp_path), AtomicCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=keep)
    hook.before_train(runner)
    for _ in range(5):
        runner.step(hook)
    steps = {int(path.stem[len('iter_') :]) for path in tmp_path.glob('*.pth')}
    assert steps == set(range(1, 6) if keep == -1 else range(6 - keep, 6))
    assert read_latest(tmp_path) == b'weights 4'
    assert not list(tmp_path.glob('.*'))


@pytest.mark.parametrize('victim', ['fsync', 'replace', 'remove'])
def test_a_kill_leaves_a_whole_latest_checkpoint(victim, tmp_path, monkeypatch):
    runner, hook = FakeRunner(tmp_path), AtomicCheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1)
    hook.before_train(runner)
    runner.step(hook)
    original = getattr(os, victim)
    calls_left = 0

    def kill(*arguments):
        nonlocal calls_left
        calls_left -= 1
        if calls_left == 0:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(os, victim, kill)
    for call in (1, 2):  # the checkpoint's own, and the one of last_checkpoint
        calls_left = call
        with suppress(Killed):
            runner.step(hook)
        assert read_latest(tmp_path).startswith(b'weights ')
    calls_left = 0
    runner.step(hook)
    assert read_latest(tmp_path) == b'weights %d' % (runner.iter - 1)


def test_what_killed_trainings_were_writing_is_removed_by_the_next(tmp_path):
    for name in ('.iter_14.pth.99999999', '.last_checkpoint.3', '.best_top1_epoch_3.pth.7'):
        (tmp_path / name).write_bytes(b'half')
    (tmp_path / '.epoch_2.pth.draft').mkdir()
    for name in ('.iter_14.pth.note', '.notes.1', '.letter.draft'):
        (tmp_path / name).touch()
    (tmp_path / '.thesis.draft').mkdir()
    runner, hook = FakeRunner(tmp_path), AtomicCheckpointHook(interval=1, by_epoch=False)
    hook.before_train(runner)
    assert {path.name for path in tmp_path.iterdir()} == {
        '.iter_14.pth.note',
        '.notes.1',
        '.letter.draft',
        '.thesis.draft',
    }


def test_the_best_checkpoint_stays_until_a_better_one_is_written(tmp_path, monkeypatch):
    runner = FakeRunner(tmp_path)
    hook = AtomicCheckpointHook(interval=1, by_epoch=False, save_best='score', rule='greater')
    hook.before_train(runner)
    for score in (1.0, 2.0):
        runner.step(hook)
        hook.after_val_epoch(runner, {'score': score})
    assert [path.name for path in tmp_path.glob('best_*')] == ['best_score_iter_2.pth']

    def kill(*_):
        raise Killed

    runner.step(hook)
    monkeypatch.setattr(os, 'fsync', kill)
    with pytest.raises(Killed):
        hook.after_val_epoch(runner, {'score': 3.0})
    assert (tmp_path / 'best_score_iter_2.pth').exists()


@pytest.mark.parametrize('planted', ['before', 'meanwhile'])
def test_a_flexible_runner_writes_through_no_link(planted, tmp_path):
    """Neither its drafts nor its best checkpoints."""
    outside, folder = tmp_path / 'outside', tmp_path / 'work'
    folder.mkdir()
    runner = FakeFlexibleRunner(folder)
    hook = AtomicCheckpointHook(interval=1, by_epoch=False, save_best='score', rule='greater')
    names = ('.iter_1.pth.draft', 'best_score_iter_1.pth', 'iter_1.pth')

    def plant():
        for name in names:
            (folder / name).symlink_to(outside)

    if planted == 'before':
        plant()
    hook.before_train(runner)
    if planted == 'meanwhile':
        plant()
    runner.step(hook)
    hook.after_val_epoch(runner, {'score': 1.0})
    assert not outside.exists()
    assert {path.name for path in folder.iterdir()} == {*names[1:], 'last_checkpoint'}
    assert not any(path.is_symlink() for path in folder.iterdir())
