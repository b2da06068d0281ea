"""The hosts' own tools work on our configs: as a user starts them or forked, on a few small images."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from fresh_python import run_python

from mmhybrid.datasets.demo_data import make_demo_data

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.dense
CLASSIFIER = """
_base_ = 'mmhybrid::demo/glnet_cls.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""
DENSE = """
_base_ = 'mmhybrid::demo/{name}.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and configs, and a classifier that MMPretrain's own ``train.py`` has trained in it."""
    folder = tmp_path_factory.mktemp('host')
    make_demo_data(folder / 'data/demo', num_train=4, num_val=4, size=64, seed=0)
    (folder / 'cls.py').write_text(CLASSIFIER)
    for name in ('glnet_retinanet', 'glnet_seg'):
        (folder / f'{name}.py').write_text(DENSE.format(name=name))
    path, program = tool_of('mmpretrain', 'train.py')
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-W', 'ignore', '-c', program, str(path), 'cls.py', '--work-dir', 'work']
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return folder


def tool_of(host: str, tool: str) -> tuple[Path, str]:
    """A tool of a host in its installation, and what runs it."""
    spec = find_spec(host)
    assert spec is not None
    assert spec.origin is not None
    # as torch does where mmhybrid is installed, which this checkout need not be
    start = 'import sys, runpy, torch, mmhybrid_autoload as a; a.find_operators(); sys.argv = sys.argv[1:]; '
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return Path(spec.origin).parent / '.mim/tools' / tool, start


def run(folder: Path, host: str, tool: str, *arguments: str) -> str:
    """What a tool printed, in a fork of a process that has imported torch and MMEngine."""
    path, program = tool_of(host, tool)
    done = run_python(program, path, *arguments, cwd=folder, MPLBACKEND='Agg')
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def log_of(folder: Path, work_dir: str) -> Path:
    (log,) = (folder / work_dir).glob('*/vis_data/scalars.json')
    return log


def test_train_writes_what_training_here_writes(place: Path) -> None:
    assert (place / 'work/epoch_2.pth').is_file()
    steps = [json.loads(line) for line in log_of(place, 'work').read_text().splitlines()]
    assert [step['step'] for step in steps if 'loss' in step] == [1, 2, 3, 4]


def test_test(place: Path) -> None:
    told = run(place, 'mmpretrain', 'test.py', 'cls.py', 'work/epoch_2.pth', '--work-dir', 'test', '--out', 'out.pkl')
    assert 'accuracy/top1' in told
    assert (place / 'out.pkl').is_file()


@pytest.mark.parametrize(('config', 'options'), [('cls.py', ['--dataset-size', '4']), ('glnet_seg.py', [])])
def test_vis_scheduler(config: str, options: list[str], place: Path) -> None:
    """Over our loops: of epochs, and of iterations."""
    out = f'{Path(config).stem}.png'
    iterations = ['--cfg-options', 'train_cfg.max_iters=4', 'train_cfg.val_interval=4', 'custom_hooks=[]']
    iterations = iterations if config == 'glnet_seg.py' else []
    arguments = [config, *options, '--save-path', out, '--not-show', *iterations]
    run(place, 'mmpretrain', 'visualization/vis_scheduler.py', *arguments)
    assert (place / out).stat().st_size > 1000


@pytest.mark.parametrize(
    ('host', 'tool', 'config'),
    [
        pytest.param('mmpretrain', 'visualization/browse_dataset.py', 'cls.py', marks=pytest.mark.torchvision),
        pytest.param('mmdet', 'analysis_tools/browse_dataset.py', 'glnet_retinanet.py', marks=pytest.mark.slow),
    ],
)
def test_browse_dataset(host: str, tool: str, config: str, place: Path) -> None:
    # of MMPretrain's modes, those that draw a grid do not run with matplotlib 3.11, whatever the config
    mode = ['--mode', 'original'] if host == 'mmpretrain' else []
    run(place, host, tool, config, '--output-dir', f'browsed_{host}', '--not-show', *mode)
    assert len([path for path in (place / f'browsed_{host}').rglob('*') if path.suffix in ('.jpg', '.png')]) == 4


@pytest.mark.parametrize(
    ('host', 'config'),
    [
        ('mmpretrain', 'cls.py'),
        pytest.param('mmdet', 'glnet_retinanet.py', marks=pytest.mark.slow),
    ],
)
def test_get_flops(host: str, config: str, place: Path) -> None:
    """MMSegmentation's own does not run with MMEngine 0.10.7, nor its browse_dataset.py with OpenCV 5."""
    shape = ['--shape', '64', '64'] if host == 'mmpretrain' else []  # MMDetection's takes that of the images
    told = run(place, host, 'analysis_tools/get_flops.py', config, *shape)
    assert re.search(r'Flops: *[\d.]+ ?[MGK]', told), told
    if host == 'mmpretrain':
        from mmengine.config import Config
        from mmengine.registry import init_default_scope

        from mmhybrid.registry import MODELS

        cfg = Config.fromfile(ROOT / 'configs/demo/glnet_cls.py')
        init_default_scope(cfg.default_scope)
        count = sum(parameter.numel() for parameter in MODELS.build(cfg.model).parameters())
        assert f'Params: {count / 1e6:.3f}M' in told


@pytest.mark.slow
def test_vis_cam(place: Path) -> None:
    pytest.importorskip('pytorch_grad_cam')
    image = next((place / 'data/demo/imagenet/val').rglob('*.jpg'))
    run(
        place,
        'mmpretrain',
        'visualization/vis_cam.py',
        str(image),
        'cls.py',
        'work/epoch_2.pth',
        '--save-path',
        'cam.png',
    )
    assert (place / 'cam.png').stat().st_size > 1000


@pytest.mark.slow
def test_vis_tsne(place: Path) -> None:
    pytest.importorskip('sklearn')
    options = ['--n-components', '2', '--perplexity', '2', '--device', 'cpu', '--n-iter', '250']
    arguments = ['cls.py', '--checkpoint', 'work/epoch_2.pth', '--work-dir', 'tsne', *options]
    run(place, 'mmpretrain', 'visualization/vis_tsne.py', *arguments)
    assert list((place / 'tsne').rglob('*.png'))


def test_analyze_logs(place: Path) -> None:
    tool = 'analysis_tools/analyze_logs.py'
    log = str(log_of(place, 'work'))
    assert 'slowest epoch' in run(place, 'mmpretrain', tool, 'cal_train_time', log)
    run(place, 'mmpretrain', tool, 'plot_curve', log, '--keys', 'loss', '--out', 'curve.png')
    assert (place / 'curve.png').stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize(('host', 'config'), [('mmdet', 'glnet_retinanet.py'), ('mmseg', 'glnet_seg.py')])
def test_train_and_test_of_detectors_and_segmentors(host: str, config: str, place: Path) -> None:
    length = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    if host == 'mmseg':
        length = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    saved = ['default_hooks.checkpoint.interval=2' if host == 'mmseg' else 'default_hooks.checkpoint.interval=1']
    run(place, host, 'train.py', config, '--work-dir', host, '--cfg-options', *length, *saved)
    checkpoint = (place / host / 'last_checkpoint').read_text()
    told = run(place, host, 'test.py', config, checkpoint, '--work-dir', f'{host}_test')
    assert 'Epoch(test) [4/4]' in told or 'mIoU' in told
