"""The commands on the demo data run one after the other, as a reader runs them, on fewer and smaller images.

A document goes on where the README ends. Everything is in a folder of its own; the shipped folders are linked into it.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from doc_blocks import DOCUMENTS, ROOT, Command, blocks_of, commands_of
from test_python_blocks import run

from mmhybrid.engine import cli
from mmhybrid.estimation import timing
from mmhybrid.registry import MODELS

pytestmark = [pytest.mark.docs, pytest.mark.slow, pytest.mark.dense]

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
STAND_FOR = {
    'SUPERNET.pth': 'work_dirs/supernet/epoch_16.pth',
    'table.json': 'work_dirs/latency.json',
    'best_arch.json': 'work_dirs/search/best_arch.json',
}
# Folders that a document's commands take as theirs, by what the README's commands made.
ALSO_CALLED = {'work_dirs/search': ('work_dirs/autovit_search',)}
# Commands on the demo data that are not run, by how they begin, and why.
NOT_RUN = {
    'make demo': 'runs the whole chain on all images',
    'make test': 'is running',
    'python benchmarks/': 'measures for minutes',
    'optuna-dashboard': 'serves until it is stopped',
}
OUTPUTS = ('--out', '--out-dir', '--work-dir', '--json', '--png')


class Workspace:
    """A folder in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in FOLDERS:
            (folder / name).symlink_to(ROOT / name)

    def why_not(self, command: Command) -> str | None:
        """Why a command is not run, None if it is."""
        line = shlex.join(command.words)
        for beginning, reason in NOT_RUN.items():
            if line.startswith(beginning):
                return reason
        program = command.words[0]
        if program not in ('python', 'bash', 'torchrun'):
            return f"{program} is not the project's"
        pairs = zip(command.words, command.words[1:], strict=False)
        return next(filter(None, (self._missing(before, word) for before, word in pairs)), None)

    def _missing(self, before: str, word: str) -> str | None:
        """What is wrong with an argument, and the word before it, that is no file of this folder."""
        if before in OUTPUTS or '=' in word:
            return None
        if word.startswith(('configs/', 'data/')) and not word.startswith(('configs/demo/', 'data/demo')):
            return f'{word} has no data here'
        if re.fullmatch(r'[A-Z_]{2,}(/.*|\.pth)?|\.\.\.', word) or '://' in word:
            return f"{word} is the reader's"
        has_random_weights = word.endswith('.pth') and before.startswith('configs/demo/')
        if word.endswith(('.pth', '.json', '.py')) and not has_random_weights and not (self.folder / word).exists():
            return f'{word} is not there'
        return None

    def run(self, command: Command) -> str | None:
        """Run a command, and raise AssertionError with its output if it fails; what it was not run for, if so."""
        command = replace(command, words=tuple(STAND_FOR.get(word, word) for word in command.words))
        reason = self.why_not(command)
        if reason is not None:
            return reason
        with patch.object(sys, 'path', [*command.python_path, *sys.path]):
            self._make_weights(command)
            words = self._smaller(list(command.words))
        environment = {**os.environ, **dict(command.environment), 'OMP_NUM_THREADS': '1'}
        environment['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
        for name, others in ALSO_CALLED.items():
            for other in others:
                if (self.folder / name / 'best_arch.json').exists() and not (self.folder / other).exists():
                    shutil.copytree(self.folder / name, self.folder / other)
        return None

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

    def _make_weights(self, command: Command) -> None:
        """Random weights in place of a long training's, for a config and a checkpoint that follows it."""
        for config, checkpoint in zip(command.words, command.words[1:], strict=False):
            path = self.folder / checkpoint
            if config.startswith('configs/') and checkpoint.endswith('.pth') and not path.exists():
                cfg = cli.load_config(str(self.folder / config))
                given: dict[str, Any] = {'_scope_': cfg.default_scope}
                if 'data_preprocessor' not in cfg.model and 'data_preprocessor' in cfg:
                    given['data_preprocessor'] = cfg.data_preprocessor
                model = MODELS.build({**cfg.model, **given})
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.save({'state_dict': model.state_dict()}, path)


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Where the README's commands have been run."""
    space = Workspace(tmp_path_factory.mktemp('documents'))
    for command in commands_of('README.md'):
        space.run(command)
    return space


def test_the_readme_goes_from_a_supernet_to_a_detector(workspace: Workspace) -> None:
    made = ['search/best_arch.json', 'report.html', 'export/best.pth', 'best_autovit_retinanet/last_checkpoint']
    assert not [name for name in made if not (workspace.folder / 'work_dirs' / name).exists()]


@pytest.mark.parametrize('document', [name for name in DOCUMENTS if name != 'README.md'])
def test_commands_run(document: str, workspace: Workspace) -> None:
    for command in commands_of(document):
        reason = workspace.run(command)
        on_demo = any(word.startswith(('configs/demo', 'examples/', 'data/demo')) for word in command.words)
        assert reason is None or not on_demo, f'{command}: {reason}'


def test_code_that_needs_their_files_runs(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What test_python_blocks.py leaves out, but for a search and a table of the whole of AutoViT-XXS."""
    monkeypatch.chdir(workspace.folder)
    monkeypatch.setattr(timing.Plan, '__init__', partialmethod(timing.Plan.__init__, repeats=2))
    for document, beginning in (('docs/detector.md', 'from mmengine.config'), ('docs/latency.md', 'import torch')):
        (block,) = [block for block in blocks_of(document) if block.text.startswith(beginning)]
        assert not run(block, {})
    assert (workspace.folder / 'channels_last.json').exists()
