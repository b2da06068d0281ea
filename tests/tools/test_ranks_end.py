"""How tools end on two ranks: well, time after time, on a busy machine.

``MMHYBRID_RANK_RUNS`` says how often each tool is run.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from retraining_demo import ROOT, make_finished_search

RUNS = int(os.environ.get('MMHYBRID_RANK_RUNS', '5'))
# Eight ranks on the cores of one machine are its load.
AT_ONCE = 4
SECONDS_A_RUN = 120


@pytest.fixture(scope='module')
def demo(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_finished_search(tmp_path_factory.mktemp('ranks'))


def arguments_of(tool: str, demo: list[str]) -> list[str]:
    config = demo[0]
    validation = f'val_cfg.calibration.dataset.data_root={Path(config).parent / "data/imagenet"}'
    return {
        'search': [*demo[:3], '--work-dir', 'RUN/work'],
        'train': [config, '--work-dir', 'RUN/work', '--cfg-options', validation, 'val_cfg.num_random=0'],
        'retrain_topk': [*demo, '--count', '1', '--out-dir', 'RUN/out'],
        'audit_ranking': [*demo, '--count', '2', '--epochs', '1', '--top', '1', '--out-dir', 'RUN/out'],
    }[tool]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tool', 'written'),
    [
        ('search', 'work/best_arch.json'),
        ('train', 'work/epoch_2.pth'),
        ('retrain_topk', 'out/best_retrained.json'),
        ('audit_ranking', 'out/networks.json'),
    ],
)
def test_no_run_ends_abnormally(tool: str, written: str, demo: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / 'tests/tools/rank_runs.py'), f'{tool}.py', str(RUNS), str(AT_ONCE)]
    done = subprocess.run(
        [*command, str(tmp_path), *arguments_of(tool, demo)],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        text=True,
        timeout=SECONDS_A_RUN * RUNS,
        check=True,
    )
    assert json.loads(done.stdout) == [[0, 0]] * RUNS
    for run in range(RUNS):
        assert (tmp_path / str(run) / written).exists()
        for rank in range(2):
            output = (tmp_path / str(run) / f'{rank}.txt').read_text()
            assert 'terminate called' not in output
            assert 'Traceback' not in output
