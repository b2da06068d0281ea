"""The commands on the demo data run one after the other, as a reader runs them, on fewer and smaller images.

A document goes on where the README ends. Everything is in a folder of its own; the shipped folders are linked into it.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from functools import partialmethod
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from doc_blocks import DOCUMENTS, ROOT, VARIABLE, Command, blocks_of, commands_of
from test_python_blocks import run

from mmhybrid.engine import cli
from mmhybrid.estimation import timing
from mmhybrid.visualization.host import build_host

pytestmark = [pytest.mark.docs, pytest.mark.slow, pytest.mark.dense]

RELEASED = 'glnet_4g_released.pth'
AVERAGED = 'EPOCH_300.pth'  # what an EMA hook saved
FOLDERS = ('benchmarks', 'configs', 'docs', 'examples', 'tools')
# What a command is given beside its own arguments, so that it takes seconds.
SMALLER = {
    'make_demo_data.py': '--num-train 400 --num-val 8 --size 64',
    'profile_latency.py': '--networks 12 --repeats 2 --warmup 1',
    'latency_report.py': '--networks 4 --repeats 2',
    'retrain_topk.py': '--count 1 --cfg-options train_dataloader.dataset.indices=32',
    'audit_ranking.py': '--count 3 --epochs 1 --top 1',
}
SMALLER_TRAINING = {
    'train_dataloader': {'batch_size': 16, 'dataset.indices': 32, 'num_workers': 0, 'persistent_workers': False},
    'val_dataloader': {'num_workers': 0, 'persistent_workers': False},
    'test_dataloader': {'num_workers': 0, 'persistent_workers': False},
}
# Names that stand for a file of the reader's, by what the README's commands made.
STAND_FOR = {'SUPERNET.pth': 'work_dirs/supernet/epoch_16.pth', 'table.json': 'work_dirs/latency.json'}
# Weights that a reader has trained for days; what reads only them and a photograph gets random ones.
TRAINED = re.compile(r'CHECKPOINT|EPOCH_\d+\.pth')
NEEDS_NO_DATA = re.compile(r'python tools/(visualize_slots|visualize_features|get_complexity|plot_arch|export)\.py ')
# Commands that are not run, by how they begin, and why. Every other command is.
NOT_RUN = {
    r'make (demo|test|test-slow|docs-check)$': 'runs the whole chain, or the tests',
    r'pip install ': 'changes the environment',
    r'optuna-dashboard ': 'serves until it is stopped',
    r'python benchmarks/': 'measures for minutes',
    r'(python|bash|torchrun) .*tools/[a-z_]+\.(py|sh) (\w+ \w+ )?configs/(glnet|glit|autovit)/': 'needs a data set',
    r'(python|bash|torchrun) .*tools/[a-z_]+\.(py|sh) (CONFIG|TABLE)\b': "takes a config or a table of the reader's",
    r'python tools/(split_imagenet|make_label_maps)\.py ': 'needs ImageNet',
    r'python tools/test\.py DIR/': 'follows a search that needs ImageNet',
    r'python tools/latency_report\.py work_dirs/latency_xxs\.json': 'needs a table of the whole of AutoViT-XXS',
    r'python tools/search_report\.py .* --storage sqlite:': "takes a database of the reader's",
}
# Those of the README: the paths a reader goes that a test does not.
NOT_RUN_OF_README = [
    'make demo',
    'make test',
    'pip install -e . --no-build-isolation',
    'pip install kmedoids',
    'python tools/train.py configs/glnet/glnet_4g_in1k.py',
    'bash tools/dist_train.sh configs/glnet/mask-rcnn_glnet_4g_1x_coco.py',
    'bash tools/dist_train.sh configs/glnet/upernet_glnet_4g_160k_ade20k.py',
    'python tools/train.py configs/glnet/glnet_4g_in1k.py --resume',
    'python tools/test.py configs/glnet/glnet_4g_in1k.py',
    'python tools/train.py configs/autovit/autovit_s_cifar10.py',
    'optuna-dashboard work_dirs/search/search.journal',
    'pip install optuna-dashboard',
    'pip install --no-build-isolation mmcv==2.1.0',
]


def why_not(command: Command) -> str | None:
    """Why a command is not run, None if it is."""
    line = shlex.join(command.words)
    if NEEDS_NO_DATA.match(line) and 'CONFIG' not in command.words:
        return None
    return next((reason for beginning, reason in NOT_RUN.items() if re.match(beginning, line)), None)


class Workspace:
    """A folder in which commands are run, with a photograph, released and averaged weights in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self.activated = False
        for name in FOLDERS:
            (folder / name).symlink_to(ROOT / name)
        photograph = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / 'PHOTO.jpg'), cv2.resize(photograph, (320, 240), interpolation=cv2.INTER_CUBIC))
        with np.load(ROOT / 'tests/data/reference/glnet_4g.npz') as data:
            shapes = json.loads(str(data['shapes']))
        torch.manual_seed(0)
        torch.save({'model': {name: torch.rand(shape) for name, shape in shapes.items()}}, folder / RELEASED)
        averaged = {'steps': torch.tensor(1), 'module.weight': torch.rand(1)}
        torch.save({'state_dict': {'weight': torch.rand(1)}, 'ema_state_dict': averaged}, folder / AVERAGED)

    def run(self, command: Command) -> str | None:
        """Run a command, and raise AssertionError with its output if it fails; what it was not run for, if so."""
        if command.words[0] == '.':
            self.activated = True
            return None
        reason = why_not(command)
        if reason is not None:
            return reason
        words = [VARIABLE.sub(lambda name: self.variables[name[1]], STAND_FOR.get(w, w)) for w in command.words]
        with patch.object(sys, 'path', [*command.python_path, *sys.path]):
            words = self._smaller(self._with_random_weights(words))
        line = shlex.join(words) + (f' | {shlex.join(command.pipe)}' if command.pipe else '')
        environment = {**os.environ, **dict(command.environment), 'OMP_NUM_THREADS': '1', 'PATH': self._path()}
        shell = ['bash', '-o', 'pipefail', '-c', line]
        done = subprocess.run(shell, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
        if command.variable is not None:
            self.variables[command.variable] = done.stdout.strip()
        return None

    def _path(self) -> str:
        """Where programs are found: those of the environment only once it is activated."""
        own = str(Path(sys.executable).parent)
        others = [folder for folder in os.environ['PATH'].split(':') if folder != own]
        return ':'.join([own, *others] if self.activated else others)

    def _with_random_weights(self, words: list[str]) -> list[str]:
        """Files in the place of what only a reader's long training gives."""
        if not NEEDS_NO_DATA.match(shlex.join(words)):
            return words
        return [self._random_weights(words[2], word) if TRAINED.fullmatch(word) else word for word in words]

    def _random_weights(self, config: str, name: str) -> str:
        path = f'{Path(config).stem}-{Path(name).stem}.pth'
        model = build_host(cli.load_config(str(self.folder / config)))
        torch.save({'state_dict': model.state_dict()}, self.folder / path)
        return path

    def _smaller(self, words: list[str]) -> list[str]:
        for tool, arguments in SMALLER.items():
            if any(word.endswith(f'/{tool}') for word in words):
                words += arguments.split()
        config = self._trained_config(words)
        if config is None:
            return words
        cfg = cli.load_config(str(self.folder / config))
        options = [
            f'{section}.{name}={value}'
            for section, settings in SMALLER_TRAINING.items()
            for name, value in settings.items()
            if section in cfg
        ]
        if 'max_iters' in cfg.train_cfg:
            options += ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2']
        at = words.index('--cfg-options') + 1 if '--cfg-options' in words else len(words)
        return [*words[:at], *(() if '--cfg-options' in words else ('--cfg-options',)), *options, *words[at:]]

    def _trained_config(self, words: list[str]) -> str | None:
        trains = any(word.endswith(('tools/train.py', 'tools/dist_train.sh')) for word in words)
        configs = [word for word in words if word.endswith('.py') and 'tools/' not in word]
        return configs[0] if trains and configs else None


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Where the README's commands have been run."""
    space = Workspace(tmp_path_factory.mktemp('documents'))
    for command in commands_of('README.md'):
        space.run(command)
    return space


def test_what_is_not_run_is_listed() -> None:
    """Each reason is needed, and of the README's commands those listed are left out and no others."""
    lines = [shlex.join(command.words) for document in DOCUMENTS for command in commands_of(document)]
    assert not [beginning for beginning in NOT_RUN if not any(re.match(beginning, line) for line in lines)]
    left_out = [shlex.join(command.words) for command in commands_of('README.md') if why_not(command)]
    assert len(left_out) == len(NOT_RUN_OF_README), left_out
    assert all(map(str.startswith, left_out, NOT_RUN_OF_README)), left_out


def test_the_readme_reaches_what_it_names(workspace: Workspace) -> None:
    made = [
        'glnet_4g.pth',
        'work_dirs/search/best_arch.json',
        'work_dirs/report.html',
        'work_dirs/export/best.pth',
        'work_dirs/export/best.onnx',
        'work_dirs/best_autovit_retinanet/last_checkpoint',
        'glit.svg',
        'work_dirs/glnet_4g_in1k/pictures/PHOTO_slots.png',
        'work_dirs/glit_tiny_in1k/pictures/features.png',
    ]
    assert not [name for name in made if not (workspace.folder / name).exists()]


@pytest.mark.parametrize('document', [name for name in DOCUMENTS if name != 'README.md'])
def test_commands_run(document: str, workspace: Workspace) -> None:
    """All that are not left out; what is missing to one of them fails it."""
    for command in commands_of(document):
        workspace.run(command)


def test_code_that_needs_their_files_runs(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What test_python_blocks.py leaves out, but for a search and a table of the whole of AutoViT-XXS."""
    monkeypatch.chdir(workspace.folder)
    monkeypatch.setattr(timing.Plan, '__init__', partialmethod(timing.Plan.__init__, repeats=2))
    for document, beginning in (('docs/detector.md', 'from mmengine.config'), ('docs/latency.md', 'import torch')):
        (block,) = [block for block in blocks_of(document) if block.text.startswith(beginning)]
        assert not run(block, {})
    assert (workspace.folder / 'channels_last.json').exists()
