"""Checkpoints of an EMA hook, and of none."""

import runpy
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EMAHook
from torch import Tensor, nn

from mmhybrid.models.checkpoints import plain_weights, read_checkpoint, write_checkpoint

TOOLS = Path(__file__).parents[2] / 'tools'


class Trained:
    """What the hook sees of a runner: a model with a norm, whose weights change in each iteration."""

    iter = 0

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

    def step(self, hook: EMAHook) -> None:
        with torch.no_grad():
            for tensor in self.model.state_dict().values():
                tensor += 1
        hook.after_train_iter(self, self.iter)
        self.iter += 1


def averaged(path: Path) -> dict[str, Tensor]:
    """Save a checkpoint as a training with the hook does; the weights it trained."""
    runner, hook = Trained(), EMAHook(momentum=0.1, update_buffers=True)
    hook.before_run(runner)
    for _ in range(3):
        runner.step(hook)
    checkpoint = {'meta': {'epoch': 1}, 'state_dict': runner.model.state_dict(), 'optimizer': {}}
    trained = {name: weight.clone() for name, weight in checkpoint['state_dict'].items()}
    hook.before_save_checkpoint(runner, checkpoint)
    write_checkpoint(path, checkpoint)
    return trained


def test_plain_weights_are_those_that_were_trained(tmp_path):
    path = tmp_path / 'new' / 'epoch_1.pth'
    trained = averaged(path)
    assert not torch.equal(read_checkpoint(str(path))['state_dict']['0.weight'], trained['0.weight'])
    plain = plain_weights(str(path))
    assert plain.keys() == {'meta', 'state_dict'}
    assert plain['meta'] == {'epoch': 1}
    assert plain['state_dict'].keys() == trained.keys()
    assert all(torch.equal(plain['state_dict'][name], weight) for name, weight in trained.items())
    Trained().model.load_state_dict(plain['state_dict'])


def test_tool_writes_them(tmp_path, capsys):
    trained = averaged(tmp_path / 'epoch_1.pth')
    main = runpy.run_path(str(TOOLS / 'plain_weights.py'))['main']
    main([str(tmp_path / 'epoch_1.pth'), str(tmp_path / 'new' / 'plain.pth')])
    state_dict = torch.load(tmp_path / 'new' / 'plain.pth', weights_only=True)['state_dict']
    assert torch.equal(state_dict['0.weight'], trained['0.weight'])
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / 'new' / 'plain.pth'), str(tmp_path / 'again.pth')])
    assert ended.value.code == 2
    assert 'no entry ema_state_dict' in capsys.readouterr().err
    assert not (tmp_path / 'again.pth').exists()


def test_checkpoint_without_averaged_weights(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    write_checkpoint(path, {'state_dict': {}})
    with pytest.raises(ValueError, match=r'epoch_1\.pth has no averaged weights .* no entry ema_state_dict'):
        plain_weights(str(path))
    with pytest.raises(ValueError, match=r'none\.pth does not exist'):
        plain_weights(str(tmp_path / 'none.pth'))
