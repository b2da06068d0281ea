"""A reader who runs the commands of the documents, with small files in the place of those that take days to get."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch
from doc_blocks import DOCUMENTS, ROOT, VARIABLE, Command, blocks_of
from mmengine.registry import init_default_scope
from stand_ins import small, write_stand_ins

from mmhybrid.__main__ import COMMANDS
from mmhybrid.apis.configs import load_config
from mmhybrid.registry import MODELS

import timm  # isort: skip, behind mmhybrid, without which torchvision may not load

RELEASED = 'glnet_4g_released.pth'
AVERAGED = 'EPOCH_300.pth'  # what an EMA hook saved
FOLDERS = ('benchmarks', 'configs', 'docs', 'examples', 'tools')
# Commands that are not run, by how they begin, and why. Every other command is.
NOT_RUN = {
    r'make (env|demo|test|test-slow|docs|docs-check)$': 'installs, runs the chain or the tests, or builds the site',
    r'make gpu-check\b': 'needs a GPU',
    r'make evidence$': 'trains for hours',
    r'make ops$': 'compiles for ten minutes',
    r'make matrix\b': 'runs for hours',
    r'(MMCV_WITH_OPS=1 )?pip install ': 'changes the environment',
    r'optuna-dashboard ': 'serves until it is stopped',
    r'python benchmarks/': 'measures for minutes',
    r'python tools/plot_curves\.py ': 'draws trainings that take days',
    r'python tools/train\.py configs/autovit/autovit_s_cifar10\.py ': "reads CIFAR's own files",
    r'(python tools/train\.py|mmhybrid train) .* --amp\b': 'needs a GPU',
    r'mmhybrid plot-curves ': 'draws a training of many epochs',
    r'NNODES=2 ': 'needs two machines',
    r'GPUS=16 bash tools/slurm_train\.sh ': 'needs Slurm',
    r'python tools/search\.py .* --storage postgresql:': 'needs a server',
    r'python tools/profile_latency\.py .* --timings ': 'takes what another machine has measured',
    r'python tools/profile_latency\.py .* --remote ': 'needs another machine',
    r'python tools/search_report\.py .* --storage sqlite:': "takes a database of the reader's",
}
# Names that stand for something of the reader's.
STAND_FOR = {
    'SUPERNET.pth': 'work_dirs/supernet/epoch_16.pth',
    'table.json': 'work_dirs/latency.json',
    'TABLE': 'work_dirs/table.json',
    'GPUS': '2',
    'cuda': 'cpu',
    'search_cfg.constraints.latency_ms.max=MILLISECONDS': 'search_cfg.constraints.latency_ms.max=1000',
}
FRONT = 'work_dirs/own_front'  # one of whose networks NETWORK is
# CONFIG, by what reads it
CONFIGS = {
    'search.py': 'configs/glit/search_glit_tiny_flat_in1k.py',
    'profile_latency.py': 'configs/demo/autovit_search.py',
}
CLASSIFIER = 'configs/glnet/glnet_4g_in1k.py'
# Weights that a reader has trained for days.
TRAINED = re.compile(r'(load_from=)?(CHECKPOINT|FIRST\.pth|SECOND\.pth|EPOCH_\d+\.pth)')
PAPERS = re.compile(r'configs/(glnet|glit|autovit)/\w')
OWN_DATA = re.compile(r'configs/\w+/supernet_\w+_own\.py')
REACHED = re.compile(r'(?P<folder>\S+)/epoch_\d+\.pth')  # by a training, which is of one epoch here
MINE = re.compile(r'my_\w+\.py')  # configs that stand in a document
# Tools that read a data set, or write a config that does.
READ_DATA = (
    *('train.py', 'test.py', 'search.py', 'export_subnet.py', 'retrain_topk.py', 'dist_train.sh', 'dist_test.sh'),
    'keep_teacher.py',
)
# What a command is given beside its own arguments, so that it takes seconds.
SMALLER = {
    'make_demo_data.py': '--num-train 400 --num-val 8 --size 64',
    'split_imagenet.py': '--num-held-out 8',
    'split_coco.py': '--num-held-out 8',
    'profile_latency.py': '--networks 12 --repeats 2 --warmup 1',
    'latency_report.py': '--networks 4 --repeats 2',
    'retrain_topk.py': '--count 1 --cfg-options train_dataloader.dataset.indices=32',
    'audit_ranking.py': '--count 3 --epochs 1 --top 1',
}
WHOLE_TABLE = '--repeats 2 --warmup 1'  # a search in it needs all of its parts
SMALLER_TRAINING = {
    'train_dataloader': {'batch_size': 16, 'dataset.indices': 32, 'num_workers': 0, 'persistent_workers': False},
    'val_dataloader': {'num_workers': 0, 'persistent_workers': False},
    'test_dataloader': {'num_workers': 0, 'persistent_workers': False},
}


def line_of(command: Command) -> str:
    """A command with what is set in front of it."""
    return ' '.join([*(f'{name}={value}' for name, value in command.environment), shlex.join(command.words)])


def why_not(command: Command) -> str | None:
    """Why a command is not run, None if it is."""
    line = line_of(command)
    return next((reason for beginning, reason in NOT_RUN.items() if re.match(beginning, line)), None)


class Workspace:
    """A folder in which commands are run, with small data sets, a photograph, released and averaged weights in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self.activated = False
        self.search_dir = 'work_dirs/found'
        for name in FOLDERS:
            (folder / name).symlink_to(ROOT / name)
        write_stand_ins(folder)
        for block in (block for document in DOCUMENTS for block in blocks_of(document)):
            if named := re.match(r'# (my_\w+\.py)\n', block.text):
                (folder / named[1]).write_text(block.text)
        photograph = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / 'PHOTO.jpg'), cv2.resize(photograph, (320, 240), interpolation=cv2.INTER_CUBIC))
        with np.load(ROOT / 'tests/data/reference/glnet_4g.npz') as data:
            shapes = json.loads(str(data['shapes']))
        torch.manual_seed(0)
        small_weights = {name: 0.05 * torch.rand(shape) for name, shape in shapes.items()}  # with finite outputs
        torch.save({'model': small_weights}, folder / RELEASED)
        torch.save(timm.create_model('convnext_atto').state_dict(), folder / 'convnext_atto.pth')
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
        words = [VARIABLE.sub(lambda name: self.variables[name[1]], word) for word in command.words]
        with patch.object(sys, 'path', [*command.python_path, *sys.path]):
            for step in (self._named, self._trained, self._reached, self._on_few_images, self._in_seconds):
                words = step(words)
        line = shlex.join(words) + (f' | {shlex.join(command.pipe)}' if command.pipe else '')
        environment = {**os.environ, **dict(command.environment), 'OMP_NUM_THREADS': '1', 'PATH': self._path()}
        shell = ['bash', '-o', 'pipefail', '-c', line]
        done = subprocess.run(shell, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f'{command}\n{line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
        if command.variable is not None:
            self.variables[command.variable] = done.stdout.strip()
        return None

    def _path(self) -> str:
        """Where programs are found: those of the environment only once it is activated."""
        own = str(Path(sys.executable).parent)
        others = [folder for folder in os.environ['PATH'].split(':') if folder != own]
        return ':'.join([own, *others] if self.activated else others)

    def _named(self, words: list[str]) -> list[str]:
        """With the reader's files, folders and numbers in the place of names that stand for them; two GPUs do."""
        if words[0] == 'mmhybrid':  # which only an installation has
            is_command = words[1] in COMMANDS
            words = ['python', *((f'tools/{COMMANDS[words[1]]}.py', *words[2:]) if is_command else ('-m', *words))]
        config = next((config for tool, config in CONFIGS.items() if uses(words, tool)), CLASSIFIER)
        words = [config if word == 'CONFIG' else STAND_FOR.get(word, word) for word in words]
        if '--work-dir' in words and 'DIR' in words:
            self.search_dir = f'work_dirs/{Path(str(config_of(words))).stem}_found'
        words = [re.sub(r'^DIR(?=/|$)', self.search_dir, word) for word in words]
        words = [
            re.sub(r'\bNETWORK\b', self._first_of_the_front(), word) if 'NETWORK' in word else word for word in words
        ]
        many = uses(words, 'dist_train.sh', 'dist_test.sh', 'torchrun.sh')
        return ['2' if many and word.isdecimal() else word for word in words]

    def _first_of_the_front(self) -> str:
        with (self.folder / FRONT / 'front.csv').open() as file:
            return next(csv.DictReader(file))['name']

    def _reached(self, words: list[str]) -> list[str]:
        """With the last checkpoint of a training in the place of one that a longer training would have."""
        return [self._last_checkpoint(word) for word in words]

    def _last_checkpoint(self, path: str) -> str:
        found = REACHED.fullmatch(path)
        last = None if found is None else self.folder / found['folder'] / 'last_checkpoint'
        if last is None or (self.folder / path).exists() or not last.exists():
            return path
        return last.read_text().strip()

    def _trained(self, words: list[str]) -> list[str]:
        """With random weights in the place of what only a long training gives."""
        config = config_of(words)
        if config is None:
            return words

        def weights(name: re.Match[str]) -> str:
            is_loaded_into_a_host = name[1] is not None
            return (name[1] or '') + self._random_weights(CLASSIFIER if is_loaded_into_a_host else config, name[2])

        return [TRAINED.sub(weights, word) if TRAINED.fullmatch(word) else word for word in words]

    def _random_weights(self, config: str, name: str) -> str:
        path = f'{Path(config).stem}-{Path(name).stem}.pth'
        cfg = load_config(str(self.folder / config))
        init_default_scope(cfg.default_scope)
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, self.folder / path)
        return path

    def _on_few_images(self, words: list[str]) -> list[str]:
        """With a small copy of each of the papers' recipes, where the command needs its images."""
        if not uses(words, *READ_DATA):
            return words
        return [self._small(word) if PAPERS.match(word) or MINE.fullmatch(word) else word for word in words]

    def _small(self, config: str) -> str:
        path = f'small/{Path(config).name}'
        (self.folder / 'small').mkdir(exist_ok=True)
        cfg = small(load_config(str(self.folder / config)))
        if OWN_DATA.fullmatch(config):
            start = cfg.model.architecture.backbone.init_cfg
            start.checkpoint = self._last_checkpoint(start.checkpoint)
        cfg.dump(self.folder / path)
        return path

    def _in_seconds(self, words: list[str]) -> list[str]:
        for tool, arguments in SMALLER.items():
            if uses(words, tool):
                is_papers = tool == 'profile_latency.py' and any(
                    PAPERS.match(word) and not OWN_DATA.fullmatch(word) for word in words
                )
                words = joined(words, (WHOLE_TABLE if is_papers else arguments).split())
        config = config_of(words)
        if config is None or config.startswith('small/') or not uses(words, 'train.py', 'dist_train.sh'):
            return words
        cfg = load_config(str(self.folder / config))
        mixed = 'dataset' in cfg.train_dataloader.dataset  # mosaics are made of the images of another data set
        options = [
            f'{section}.{name.replace("dataset.", "dataset.dataset.") if mixed else name}={value}'
            for section, settings in SMALLER_TRAINING.items()
            for name, value in settings.items()
            if section in cfg
        ]
        if 'max_iters' in cfg.train_cfg:
            options += ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2']
        at = words.index('--cfg-options') + 1 if '--cfg-options' in words else len(words)
        return [*words[:at], *(() if '--cfg-options' in words else ('--cfg-options',)), *options, *words[at:]]


def uses(words: list[str], *tools: str) -> bool:
    """Whether a command runs one of some tools."""
    return any(f'tools/{tool}' in words for tool in tools)


def joined(words: list[str], arguments: list[str]) -> list[str]:
    """A command with further arguments; of two ``--cfg-options`` the second alone would count."""
    option = '--cfg-options'
    if option not in words or option not in arguments:
        return [*words, *arguments]
    at, first = words.index(option) + 1, arguments.index(option)
    return [*words[:at], *arguments[first + 1 :], *words[at:], *arguments[:first]]


def config_of(words: list[str]) -> str | None:
    """The first config that a command names."""
    return next(
        (word for word in words if re.match(r'(configs|small|work_dirs|examples)/.*\.py$|my_\w+\.py$', word)), None
    )
