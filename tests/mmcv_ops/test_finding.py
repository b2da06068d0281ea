"""Where and when the stand-in is found: each case in a process of its own."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from fresh_python import RUN_FILE, environment_of, run_python

ROOT = Path(__file__).parents[2]

FIND = """
import sys
if sys.argv[1] == 'unloadable':
    import torch
    def load_library(path):
        raise OSError(path)
    torch.ops.load_library = load_library
import mmhybrid
import mmcv._ext, importlib
importlib.import_module('mmcv._ext')
print(mmcv._ext.__spec__.origin)
"""


@pytest.fixture
def bare_mmcv(tmp_path):
    """A folder with an ``mmcv`` that has nothing."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    return tmp_path


@pytest.fixture(scope='session')
def installed(tmp_path_factory):
    """A folder with what tells Python that mmhybrid is installed: the entry points of setup.py."""
    folder = tmp_path_factory.mktemp('metadata')
    command = [sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', str(folder)]
    subprocess.run(command, env=environment_of(), cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope='session')
def run_installed(installed):
    """Runs a script in a process in which torch was imported, and found the entry points, and MMEngine, as in tools."""
    return partial(run_python, found_by_torch=installed)


@pytest.mark.torchvision
def test_stands_in_where_nothing_else_does_and_says_so_once(bare_mmcv):
    done = run_python(FIND, 'any', folders=[bare_mmcv])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'mmhybrid.mmcv_ops'
    assert (done.stdout + done.stderr).count('stands in') == 1


def test_compiled_module_is_left_alone(bare_mmcv):
    compiled = bare_mmcv / 'mmcv' / '_ext.py'
    compiled.touch()
    done = run_python(FIND, 'any', folders=[bare_mmcv])
    assert done.stdout.split() == [str(compiled)], done.stderr
    assert 'stands in' not in done.stdout + done.stderr


@pytest.mark.parametrize(('how', 'switch'), [('any', '0'), ('unloadable', '1')])
def test_nothing_is_found_when_turned_off_or_without_operators_of_torchvision(bare_mmcv, how, switch):
    done = run_python(FIND, how, folders=[bare_mmcv], MMHYBRID_MMCV_OPS=switch)
    assert done.returncode != 0
    assert "ModuleNotFoundError: No module named 'mmcv._ext'" in done.stderr


def test_switch_takes_two_values():
    done = run_python('import mmhybrid', MMHYBRID_MMCV_OPS='yes')
    assert done.stderr.splitlines()[-1] == "ValueError: MMHYBRID_MMCV_OPS: got 'yes', allowed: 0 or 1"


autoloads = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split('.')[:2])) < (2, 5), reason='torch calls entry points since 2.5'
)


@autoloads
def test_installed_package_costs_programs_without_mmcv_nothing(installed):
    script = "import torch, sys; assert not {'mmhybrid', 'mmengine', 'torchvision'} & set(sys.modules)"
    environment = environment_of(folders=[installed], TORCH_DEVICE_BACKEND_AUTOLOAD='1')
    subprocess.run([sys.executable, '-c', script], env=environment, cwd=ROOT, check=True)


@autoloads
@pytest.mark.torchvision
def test_is_found_by_programs_that_do_not_import_mmhybrid(run_installed, bare_mmcv):
    script = 'import torch, mmcv._ext; print(mmcv._ext.__spec__.origin)'
    done = run_installed(script, folders=[bare_mmcv])
    assert done.stdout.splitlines()[-1:] == ['mmhybrid.mmcv_ops'], done.stderr
    done = run_installed(script, folders=[bare_mmcv], MMHYBRID_MMCV_OPS='0')
    assert "No module named 'mmcv._ext'" in done.stderr
    (bare_mmcv / 'mmcv' / '_ext.py').touch()
    done = run_installed(script + "; import sys; print('mmhybrid' in sys.modules)", folders=[bare_mmcv])
    assert done.stdout.split() == [str(bare_mmcv / 'mmcv' / '_ext.py'), 'False'], done.stderr


@pytest.mark.dense
@autoloads
@pytest.mark.parametrize('package', ['mmdet', 'mmseg', 'mmpretrain'])
@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_tools_of_the_hosts_start(run_installed, package, tool):
    path = Path(__import__(package).__file__).parent / '.mim' / 'tools' / tool
    done = run_installed(RUN_FILE, path, '--help')
    assert done.returncode == 0, done.stderr
    assert 'usage:' in done.stdout


@pytest.mark.dense
@autoloads
@pytest.mark.torchvision
@pytest.mark.parametrize('script', ['from mmdet.apis import DetInferencer', 'from mmseg.apis import MMSegInferencer'])
def test_inferencers_import_without_mmhybrid(run_installed, script):
    done = run_installed(script)
    assert done.returncode == 0, done.stderr


CUSTOM_IMPORTS = """
import sys
import mmdet, mmseg, mmpretrain  # as a tool does, before it reads its config
from mmengine.config import Config
from mmengine.registry import init_default_scope
Config.fromfile(sys.argv[1])
from mmdet.registry import MODELS
init_default_scope('mmdet')
extractor = MODELS.build(dict(type='SingleRoIExtractor', out_channels=4, featmap_strides=[4],
                              roi_layer=dict(type='RoIAlign', output_size=2)))
import torch
print(extractor([torch.ones(1, 4, 8, 8)], torch.tensor([[0, 0.0, 0, 16, 16]])).sum().item())
"""


@pytest.mark.dense
def test_custom_imports_of_a_config_suffice(tmp_path):
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['mmhybrid'])\n")
    done = run_python(CUSTOM_IMPORTS, tmp_path / 'config.py')
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == 16
