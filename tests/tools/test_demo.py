"""``mmhybrid demo``: what it shows, and that its steps are the commands."""

import copy
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from mmhybrid.commands import demo
from mmhybrid.commands.shared import quiet
from mmhybrid.commands.shared.quiet import QuietCommands, candidates, iterations
from mmhybrid.datasets.demo_data import make_demo_data

ROOT = Path(__file__).resolve().parents[2]
WAYS = pytest.mark.parametrize('forks', [True, False])
FEW = ('--num-train', '4', '--num-val', '2', '--size', '64')


def commands_in(folder: Path, forks: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[QuietCommands, io.StringIO]:
    shown = io.StringIO()
    monkeypatch.setattr(quiet, 'can_fork', lambda: forks)
    return QuietCommands(folder / 'logs', 2, (), Console(file=shown, soft_wrap=True, highlight=False)), shown


@WAYS
def test_a_command_is_a_few_lines_and_a_log(forks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, shown = commands_in(tmp_path, forks, monkeypatch)
    commands.run('draw scenes', 'make-demo-data', f'{tmp_path}/data', *FEW)
    commands.run('do it again', 'make-demo-data', f'{tmp_path}/data', *FEW)
    assert len(list((tmp_path / 'data/coco/train2017').iterdir())) == 4
    logs = [tmp_path / f'logs/{number}_make-demo-data.log' for number in (1, 2)]
    assert [log.read_text() for log in logs] == [
        f'{tmp_path}/data: written\n',
        f'{tmp_path}/data: already complete\n',
    ]
    lines = shown.getvalue().splitlines()
    assert lines[0] == '[1/2] draw scenes'
    assert re.fullmatch(rf' +\d+ s, log: {re.escape(str(logs[0]))}', lines[1])
    assert lines[2] == '[2/2] do it again'
    assert len(lines) == 4


@pytest.mark.parametrize('forks', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_command_that_fails_shows_the_end_of_its_log(
    forks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands, shown = commands_in(tmp_path, forks, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        commands.run('draw scenes', 'make-demo-data', f'{tmp_path}/data', '--num-train', '0')
    assert ended.value.code == 2
    assert 'mmhybrid make-demo-data ended with exit code 2; the last lines of its log:' in shown.getvalue()
    assert 'num_train: got 0, allowed: an int from 1' in shown.getvalue()


def test_the_end_of_a_log_is_short_and_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, shown = commands_in(tmp_path, True, monkeypatch)

    def work(command: list[str], log: int) -> None:
        os.write(log, b''.join(b'line %d \x1b[2J[red]\n' % number for number in range(100)))
        os.kill(os.getpid(), 9)

    monkeypatch.setattr(quiet, '_work', work)
    with pytest.raises(SystemExit) as ended:
        commands.run('fail', 'train', 'config.py')
    assert ended.value.code == 128 + 9
    lines = shown.getvalue().splitlines()
    assert sum('[red]' in line for line in lines) == quiet.LAST_LINES
    assert 'line 99' in lines[-1]
    assert '\x1b' not in shown.getvalue()


def test_progress_and_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, shown = commands_in(tmp_path, True, monkeypatch)
    log = """
11/27 20:52:49 - mmengine - INFO - Epoch(train)  [1][10/75]  base_lr: 3.3e-04 eta: 0:00:28  loss: 1.1825
11/27 20:52:52 - mmengine - INFO - Epoch(train)  [2][75/75]  base_lr: 3.3e-04 eta: 0:00:28  loss: 1.1825
11/27 20:53:49 - mmengine - INFO - Epoch(val) [2][8/8]    largest/accuracy/top1: 55.0000  smallest/accuracy/top1: 9
11/27 20:53:49 - mmengine - INFO - Epoch(val) [2][8/8]    largest/accuracy/top1: 67.5000  smallest/accuracy/top1: 9
"""
    log = 'caf\udce9' + log  # of a program with another encoding
    monkeypatch.setattr(quiet, '_work', lambda command, file: os.write(file, log.encode(errors='surrogateescape')))
    commands.run('train', 'train', of='iterations', progress=iterations(2), metric='largest/accuracy/top1')
    lines = shown.getvalue().splitlines()
    assert '150/150' in lines[1]
    assert len(lines) == 3
    assert ' s, largest/accuracy/top1 67.5, log: ' in lines[-1]


@pytest.mark.parametrize(
    ('progress', 'line', 'place'),
    [
        (iterations(16), '- INFO - Epoch(train)  [3][ 25/100]  base_lr: 1', (225, 1600)),
        (iterations(16), '- INFO - Epoch(val)  [8][5/8]    eta: 0:00:00', None),
        (candidates, '- INFO - ██░░░░░░░░░░  4/24  eta 0:01:19  fine  0.3    accuracy/top1     69.5', (4, 24)),
        (candidates, '- INFO - ░░░░░░░░░░░░ 0/120', None),
    ],
)
def test_places_in_logs(progress: Callable[[str], Any], line: str, place: tuple[int, int] | None) -> None:
    assert progress(line) == place


def test_the_demo_shows_less_than_60_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """With commands that write nothing but the files that later ones read; and nothing through links of others."""
    logs = tmp_path / 'here/work_dirs/demo/logs'
    logs.mkdir(parents=True)
    for link in ('imports.log', '1_make-demo-data.log', '../latency.json', '../report.html'):
        (logs / link).symlink_to(tmp_path / 'outside')
    monkeypatch.chdir(tmp_path / 'here')
    ran: list[str] = []

    def work(command: list[str], log: int) -> None:
        options = dict(itertools.pairwise(command))
        folder = Path(options.get('--work-dir', options.get('--out-dir', '.')))
        folder.mkdir(parents=True, exist_ok=True)
        if command[0] == 'train':
            epochs = re.search(r'max_epochs=(\d+)', ' '.join(command))[1]
            (folder / f'epoch_{epochs}.pth').touch()
            (folder / 'last_checkpoint').write_text(str(folder.resolve() / f'epoch_{epochs}.pth'))
            os.write(log, b'Epoch(train) [1][1/2]\n' * 1000 + f'Epoch(train) [{epochs}][2/2]'.encode())
        elif command[0] == 'profile-latency':
            Path(options['--out']).write_text(json.dumps({'measurements': [{'ms': 3.0}]}))
        elif command[0] == 'search':
            (folder / 'best_arch.json').write_text(json.dumps({'metrics': {'accuracy/top1': 71.5}}))
            (folder / 'topk.csv').touch()
            (folder / 'search.journal').touch()
        elif command[0] == 'export-subnet':
            for name in ('best.py', 'best.pth', 'best_backbone.py', 'best_autovit_retinanet.py'):
                (folder / name).touch()
        elif command[0] == 'report':
            Path(options['--out']).touch()
        else:
            Path('data/demo').mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(quiet, 'can_fork', lambda: True)
    monkeypatch.setattr(demo, 'IMPORTED', ())
    monkeypatch.setattr(quiet, '_work', work)
    start = quiet._start
    monkeypatch.setattr(quiet, '_start', lambda command, log: ran.append(command[0]) or start(command, log))
    demo.main([])
    names = 'make-demo-data train profile-latency search export-subnet train test train report'
    assert ran == names.split()
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 60
    for number, name in enumerate(ran, 1):
        assert f'[{number}/{demo.STEPS}] ' in shown
        assert f'log: work_dirs/demo/logs/{number}_{name}.log' in shown
    assert not (tmp_path / 'outside').exists()
    assert '32/32' in shown
    assert 'best_arch.json: the best network found within that, with 71.5 % of the held-out images right' in shown


@WAYS
def test_commands_import_nothing_from_the_current_folder(forks: bool, tmp_path: Path) -> None:
    """A folder of data may come from others; ``mmhybrid`` does not look for modules in it, and ``-m`` would.

    What is imported ahead writes into a log.
    """
    for name in ('mmengine', 'multiprocessing', 'pickle', 'mmpretrain'):
        (tmp_path / f'{name}.py').write_text('open("trace", "w").close(); raise ImportError')
    (tmp_path / 'hosts').mkdir()
    (tmp_path / 'hosts/noisy.py').write_text('import sys; print("told"); print("warned", file=sys.stderr)')
    program = f"""
import sys; del sys.path[0]
from pathlib import Path
from mmhybrid.commands.shared import quiet
quiet.can_fork = lambda: {forks}
quiet.QuietCommands(Path('logs'), 1, ('noisy', 'no_such_host')).run('help', 'make-demo-data', '--help')
"""
    env = {**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path / "hosts"}', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-W', 'ignore', '-c', program]
    shown = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert not (tmp_path / 'trace').exists()
    assert shown.returncode == 0, shown.stderr
    assert (shown.stdout.count('\n'), shown.stderr) == (2, '')
    told = (tmp_path / 'logs/imports.log').read_text()
    assert sorted(told.splitlines()) == (['told', 'warned'] if forks else [])
    assert 'usage: mmhybrid make-demo-data' in (tmp_path / 'logs/1_make-demo-data.log').read_text()


def test_images_that_workers_stack_are_the_same_to_the_bit(tmp_path: Path) -> None:
    """The supernets' configs hand over a batch as one tensor, where MMPretrain's default is a tensor an image."""
    import mmpretrain.datasets
    import mmpretrain.models  # noqa: F401
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import FUNCTIONS, DefaultScope
    from mmpretrain.registry import DATASETS, MODELS

    make_demo_data(tmp_path, num_train=16, num_val=1, size=64)
    cfg = Config.fromfile(ROOT / 'configs/demo/autovit_supernet.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        images = DATASETS.build({**cfg.train_dataloader.dataset, 'data_root': str(tmp_path / 'imagenet')})
        preprocess = MODELS.build({'type': 'ClsDataPreprocessor', **cfg.data_preprocessor})
    samples = [images[index] for index in range(8)]
    stack = FUNCTIONS.get(cfg.train_dataloader.collate_fn.type)
    found, expected = (preprocess(collate(copy.deepcopy(samples)), True) for collate in (stack, pseudo_collate))
    assert torch.equal(found['inputs'], expected['inputs'])
    assert found['inputs'].stride() == expected['inputs'].stride()
    for one, other in zip(found['data_samples'], expected['data_samples'], strict=True):
        assert torch.equal(one.gt_label, other.gt_label)
        assert one.metainfo == other.metainfo
