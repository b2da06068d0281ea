"""The commands of the documents run one after the other, as a reader runs them, on fewer and smaller images.

A document goes on where the README ends. Everything is in a folder of its own; the shipped folders are linked into it.
"""

import re
from functools import partialmethod

import pytest
from doc_blocks import DOCUMENTS, blocks_of, commands_of
from reader import NOT_RUN, Workspace, line_of, why_not
from test_python_blocks import run

from mmhybrid.latency import timing

pytestmark = [pytest.mark.docs, pytest.mark.slow, pytest.mark.dense]

# Those of the README: the paths a reader goes that a test does not.
NOT_RUN_OF_README = [
    'make env',
    'make demo',
    'make test',
    'make ops',
    'pip install -e ',
    'python tools/train.py configs/autovit/autovit_s_cifar10.py',
    'optuna-dashboard work_dirs/search/search.journal',
    'pip install optuna-dashboard',
    'make docs',
    'make ops',
    'MMCV_WITH_OPS=1 pip install --no-build-isolation mmcv==2.1.0',
]


@pytest.fixture(scope='module')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Where the README's commands have been run."""
    space = Workspace(tmp_path_factory.mktemp('documents'))
    for command in commands_of('README.md'):
        space.run(command)
    return space


def test_what_is_not_run_is_listed() -> None:
    """Each reason is needed, and of the README's commands those listed are left out and no others."""
    lines = [line_of(command) for document in DOCUMENTS for command in commands_of(document)]
    assert not [beginning for beginning in NOT_RUN if not any(re.match(beginning, line) for line in lines)]
    left_out = [line_of(command) for command in commands_of('README.md') if why_not(command)]
    assert len(left_out) == len(NOT_RUN_OF_README), left_out
    assert all(map(str.startswith, left_out, NOT_RUN_OF_README)), left_out


def test_the_readme_reaches_what_it_names(workspace: Workspace) -> None:
    made = [
        'work_dirs/glnet_4g_in1k/last_checkpoint',
        'work_dirs/mask-rcnn_glnet_4g_1x_coco/last_checkpoint',
        'work_dirs/upernet_glnet_4g_160k_ade20k/last_checkpoint',
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
    kinds = {
        'docs/detector.md': 'from mmengine.config',
        'docs/latency.md': 'import torch',
        'docs/use_it.md': 'from pathlib',
    }
    for document, beginning in kinds.items():
        (block,) = [block for block in blocks_of(document) if block.text.startswith(beginning)]
        assert not run(block, {})
    assert (workspace.folder / 'channels_last.json').exists()
