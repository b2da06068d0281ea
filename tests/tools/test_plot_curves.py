"""The command line of tools/plot_curves.py."""

import json
from importlib import import_module
from pathlib import Path

import cv2
import pytest

TOOL = vars(import_module('mmhybrid.commands.plot_curves'))

LOSSES = ((4.0, 1), (2.0, 1), (9.0, 2))  # with the epoch


def write(folder: Path, start: str, lines: list[dict]) -> None:
    file = folder / start / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(map(json.dumps, lines)))


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """One run in one go, and one that was resumed in its second epoch, which it did again."""
    train = [{'loss': loss, 'epoch': epoch, 'step': step} for step, (loss, epoch) in enumerate(LOSSES, start=1)]
    write(tmp_path / 'a', '1', [*train, {'accuracy/top1': 50.0, 'step': 1}])
    write(tmp_path / 'b', '1', train)
    write(tmp_path / 'b', '2', [{'loss': 1.0, 'epoch': 2, 'step': 3}, {'accuracy/top1': 60.0, 'step': 2}])
    return [str(tmp_path / name) for name in 'ab']


def test_epochs_are_averaged_and_resumed_ones_replaced(runs: list[str]) -> None:
    assert TOOL['read_curve'](runs[0], 'loss') == {1: 3.0, 2: 9.0}
    assert TOOL['read_curve'](runs[1], 'loss') == {1: 3.0, 2: 1.0}
    assert TOOL['read_curve'](runs[1], 'accuracy/top1') == {2: 60.0}


@pytest.mark.parametrize('keys', [['loss'], ['loss', 'accuracy/top1']])
def test_draws_a_panel_a_key(runs: list[str], tmp_path: Path, keys: list[str]) -> None:
    out = tmp_path / 'curves.png'
    TOOL['main']([*runs, '--out', str(out), '--keys', *keys])
    height_and_width = cv2.imread(str(out)).shape[:2]
    assert height_and_width == (400, 500 * len(keys))


def test_mistakes_end_with_a_sentence(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for arguments, word in (([runs[0], '--keys', 'mIoU'], "not logged 'mIoU'"), ([str(tmp_path)], 'vis_data')):
        with pytest.raises(SystemExit):
            TOOL['main']([*arguments, '--out', str(tmp_path / 'x.png')])
        assert word in capsys.readouterr().err
