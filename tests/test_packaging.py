"""What a wheel and an sdist hold, and what an installation does without this checkout."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from fresh_python import run_python
from packaging.requirements import Requirement

from mmhybrid.torch_api import TORCH
from mmhybrid.utils.optional import EXTRAS, how_to_install
from mmhybrid.version import __version__

ROOT = Path(__file__).resolve().parents[1]
# Folders of the sdist, beside the package.
FOLDERS = ('benchmarks', 'configs', 'docs', 'examples', 'requirements', 'tests', 'tools')
# What the distributions are called that hold the hosts' modules.
DISTRIBUTIONS = {
    'openmmlab': {'mmengine', 'mmcv-lite', 'mmpretrain', 'mmdet', 'mmsegmentation', 'torchvision'},
    'onedl': {'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'onedl-mmdetection', 'onedl-mmsegmentation'}
    | {'torchvision'},
    'mim': {'mmengine', 'mmcv'},
}
# Without an extra, as where it is not installed.
HIDE = """
from importlib.machinery import PathFinder

import sys, warnings

warnings.simplefilter('ignore')
assert not {{name.partition('.')[0] for name in sys.modules}} & {hidden!r}
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *others: None if name.partition('.')[0] in {hidden!r} else find(name, *others)
"""


@pytest.fixture(scope='module')
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    folder = tmp_path_factory.mktemp('sdist')
    source = folder / 'source'
    source.mkdir()
    for name in (*FOLDERS, 'mmhybrid', *(path.name for path in ROOT.iterdir() if path.is_file())):
        (source / name).symlink_to(ROOT / name)  # so that nothing is written beside the sources
    command = [sys.executable, 'setup.py', '-q', 'sdist', '--dist-dir', str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (packed,) = folder.glob('mmhybrid-*.tar.gz')
    with tarfile.open(packed) as archive:
        # the first releases of Python 3.10 and 3.11 have no filters
        archive.extractall(folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    return folder / f'mmhybrid-{__version__}'


@pytest.fixture(scope='module')
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, and nothing else."""
    folder = tmp_path_factory.mktemp('wheel')
    command = [sys.executable, '-m', 'pip', 'wheel', '.', '--no-deps', '--no-build-isolation', '-q', '-w', str(folder)]
    subprocess.run(command, cwd=sdist, check=True, capture_output=True)
    (path,) = folder.glob('mmhybrid-*.whl')
    return path


def tracked(folder: str, suffix: str = '*') -> set[str]:
    return {
        str(path.relative_to(ROOT / folder))
        for path in (ROOT / folder).rglob(suffix)
        if path.is_file() and '__pycache__' not in path.parts and '.mim' not in path.parts
    }


def test_sdist_holds_all_but_what_is_generated(sdist: Path) -> None:
    for folder in (*FOLDERS, 'mmhybrid'):
        assert {f'{folder}/{name}' for name in tracked(folder)} == {
            str(path.relative_to(sdist)) for path in (sdist / folder).rglob('*') if path.is_file()
        }
    files = {'CHANGELOG.md', 'CITATION.cff', 'LICENSE', 'Makefile', 'README.md', 'model-index.yml', 'setup.py'}
    assert files <= {path.name for path in sdist.iterdir()}


def test_wheel_holds_the_package_and_what_mim_looks_for(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder, target in (
        ('mmhybrid', 'mmhybrid'),
        ('configs', 'mmhybrid/.mim/configs'),
        ('tools', 'mmhybrid/.mim/tools'),
    ):
        assert {f'{target}/{name}' for name in tracked(folder, '*.py')} - held == set()
    assert {'mmhybrid/.mim/model-index.yml', 'mmhybrid_autoload.py'} <= held
    assert not any('tests/' in name or '__pycache__' in name for name in held)


def test_metadata_name_no_host_but_in_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('.dist-info/METADATA'))
        metadata = Parser().parsestr(archive.read(name).decode())
    for field in ('Summary', 'Author', 'License-File', 'Keywords', 'Project-URL', 'Classifier', 'Requires-Python'):
        assert metadata[field], field
    required = [Requirement(line) for line in metadata.get_all('Requires-Dist') or []]
    hosts = set().union(*DISTRIBUTIONS.values())
    assert not {line.name for line in required if line.marker is None} & hosts
    extras = {extra: requirements_of(required, extra) for extra in metadata.get_all('Provides-Extra') or []}
    assert {extra: extras[extra] for extra in DISTRIBUTIONS} == DISTRIBUTIONS
    parts = [extras[extra] for extra in ('dense', 'search', 'export', 'pictures')]
    assert extras.keys() == {'dense', 'search', 'export', 'pictures', 'executorch', 'all', *DISTRIBUTIONS}
    assert extras['all'] == set().union(*parts)
    # what messages tell to install
    assert all(package in extras[extra] for package, extra in EXTRAS.items())


def requirements_of(required: list[Requirement], extra: str) -> set[str]:
    return {line.name for line in required if line.marker is not None and line.marker.evaluate({'extra': extra})}


COUNT = ['get-complexity']
CLASSIFIER = 'mmhybrid::demo/glnet_cls.py'
DETECTOR = 'mmhybrid::demo/glnet_retinanet.py'
SEGMENTOR = 'mmhybrid::demo/glnet_seg.py'
ONNX = ['--format', 'onnx', '--out', 'out.onnx', '--shape', '64', '64']
ARCH = ['plot-arch', '--preset', 'glit-tiny', '--out', 'a.svg']
HOSTS_TOLD = r"pip install 'mmhybrid\[openmmlab\]', or 'mmhybrid\[onedl\]'"
MMCV, MMDET, MMPRETRAIN = (re.escape(how_to_install(module)) for module in ('mmcv', 'mmdet', 'mmpretrain'))

# with onedl-mmengine, which raises an error of its own, the end of that
NO_MMDET = '(needs mmdet|cannot be read: ModuleNotFoundError: mmdet is not installed, please install mmdet manually)'


def case(hidden: Iterable[str], *arguments: str, told: str = '', slow: bool = False) -> Any:
    return pytest.param(set(hidden), arguments, told, marks=[pytest.mark.slow] if slow else [], id=arguments[0])


@pytest.mark.parametrize(
    ('hidden', 'arguments', 'told'),
    [
        case(['optuna'], 'search', told=r"a search needs the package optuna: pip install 'mmhybrid\[search\]'"),
        case(['pycocotools'], 'make-demo-data', told=r"needs the package pycocotools: pip install 'mmhybrid\[dense\]'"),
        case(['mmengine'], '--help', told=f'mmhybrid needs the package mmengine: {HOSTS_TOLD}'),
        case(['mmcv'], *ARCH, told=f'mmhybrid needs the package mmcv: {MMCV}', slow=True),
        case(['mmdet'], *COUNT, DETECTOR, told=f'config {DETECTOR} {NO_MMDET}: {MMDET}'),
        case(['mmpretrain'], *COUNT, CLASSIFIER, told=f'config {CLASSIFIER} needs mmpretrain: {MMPRETRAIN}', slow=True),
        case(['torchvision'], *COUNT, CLASSIFIER, told=r"'torchvision': pip install torchvision", slow=True),
        case(['ftfy'], *COUNT, SEGMENTOR, told=r"No module named 'ftfy': pip install 'mmhybrid\[dense\]'", slow=True),
        case(['onnx'], 'export', CLASSIFIER, *ONNX, told=r"package onnx: pip install 'mmhybrid\[export\]'", slow=True),
        case(EXTRAS, *COUNT, CLASSIFIER),
        case(EXTRAS, 'train', '--help', slow=True),
        case([*EXTRAS, 'mmpretrain', 'mmdet', 'mmseg'], *ARCH, slow=True),
    ],
)
def test_what_is_not_installed_is_told_with_the_command(
    hidden: set[str], arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    run = 'import runpy; runpy.run_module("mmhybrid", run_name="__main__", alter_sys=True)'
    # what MMEngine or an older torch imports can only be hidden where it has not been imported
    imported = 'torch' if 'mmengine' in hidden else 'torch mmengine.runner'
    if 'onnx' in hidden and TORCH < (2, 6):
        imported = ''
    done = run_python(HIDE.format(hidden=hidden) + run, *arguments, imported=imported, cwd=tmp_path)
    if not told:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert re.search(told, lines[-1]), done.stderr
    # what cannot even be imported ends with Python's own report
    assert hidden == {'mmengine'} or not any('Traceback' in line for line in lines), done.stderr


USE = """
import mmhybrid
from mmengine.hub import get_config
from mmpretrain import list_models
assert {prefix!r} in mmhybrid.__file__, mmhybrid.__file__
assert 'glnet-4g_in1k' in list_models('glnet')
assert get_config('mmhybrid::demo/glnet_cls.py').filename.startswith({prefix!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize('how', ['wheel', 'editable'])
def test_an_installation_trains_in_any_folder(how: str, sdist: Path, wheel: Path, tmp_path: Path) -> None:
    """In a virtual environment that has this one's packages, but mmhybrid."""
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(venv)], check=True)
    (site,) = venv.glob('lib/python*/site-packages')
    paths = [path for path in sys.path if path.endswith('site-packages')]
    (site / 'others.pth').write_text('\n'.join(paths) + '\n')
    python = str(venv / 'bin/python')
    env = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    source = [str(wheel)] if how == 'wheel' else ['-e', str(sdist)]
    install = ['-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation', '--force-reinstall', *source]
    subprocess.run([python, *install, '--no-index', '--prefix', str(venv)], check=True, env=env)
    prefix = str(site if how == 'wheel' else sdist)

    def run(*command: str) -> str:
        words = [python, '-W', 'ignore', *command] if command[0].startswith('-') else command
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run('-c', USE.format(prefix=prefix))
    assert 'profile-latency' in run(str(venv / 'bin/mmhybrid'), '--help')
    run('-m', 'mmhybrid', 'make-demo-data', 'data/demo', '--num-train', '4', '--num-val', '2', '--size', '64')
    options = ['train_dataloader.batch_size=2', 'train_cfg.max_epochs=1', 'default_hooks.checkpoint.interval=1']
    loaders = [f'{split}_dataloader.{name}' for split in ('train', 'val') for name in ('num_workers=0',)]
    loaders += [f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val')]
    run('-m', 'mmhybrid', 'train', 'mmhybrid::demo/glnet_cls.py', '--cfg-options', *options, *loaders)
    assert (tmp_path / 'work_dirs/glnet_cls/epoch_1.pth').is_file()
    assert not list(Path(prefix, 'mmhybrid').rglob('work_dirs'))


def test_an_editable_installation_is_found_in_the_folder_of_its_clone(tmp_path: Path) -> None:
    """There ``mmhybrid`` is the clone's folder too, which Python takes for a package if nothing else is on the path."""
    clone, built, site = tmp_path / 'above/mmhybrid', tmp_path / 'built', tmp_path / 'site'
    clone.mkdir(parents=True)
    for name in (*FOLDERS, *(path.name for path in ROOT.iterdir() if path.is_file())):
        (clone / name).symlink_to(ROOT / name)
    (clone / 'mmhybrid').mkdir()
    for path in ('__init__.py', 'version.py'):
        (clone / 'mmhybrid' / path).symlink_to(ROOT / 'mmhybrid' / path)
    command = [sys.executable, 'setup.py', '-q', 'editable_wheel', '--dist-dir', str(built)]
    subprocess.run(command, cwd=clone, check=True, capture_output=True)
    (wheel,) = built.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    look = "from importlib.util import find_spec; print(find_spec('mmhybrid').origin)"
    code = f'import site; site.addsitedir({str(site)!r}); {look}'
    found = subprocess.run([sys.executable, '-S', '-E', '-c', code], cwd=clone.parent, check=True, capture_output=True)
    assert found.stdout.decode().strip() == str(clone / 'mmhybrid/__init__.py')
