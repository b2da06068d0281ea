"""What lies in the current folder is not a module of a program of ours, nor of the processes that it starts."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fresh_python import ROOT, environment_of, run_python

from mmhybrid import compat
from mmhybrid.utils import current_folder

# Python imports it first in each process: it notes the folder in which torch is imported, from where libraries come.
WATCH = """
import os, sys

def note(event, words):
    if event == 'import' and words[0] == 'torch':
        with open({!r}, 'a') as file:
            file.write(os.getcwd() + '\\n')

sys.addaudithook(note)
"""
TRACE = 'open({!r}, "a").write(__name__ + "\\n")\nraise ImportError("a module of the current folder")\n'
# As a program of ours runs: a command with a data loader whose workers are spawned, or served by a fork server.
WORKERS = """
import sys
from mmhybrid.engine.ranks import run
import torch
from torch.utils.data import DataLoader

def main():
    loader = DataLoader([torch.ones(1)] * 4, num_workers=1, multiprocessing_context=sys.argv[1])
    print('loaded', len(list(loader)))

if __name__ == '__main__':
    run(main)
"""
PROBE = """
from mmhybrid.engine.ranks import run
import mmhybrid

def main():
    from torch._inductor.cpu_vec_isa import pick_vec_isa
    print('picked', pick_vec_isa())

run(main)
"""


@pytest.fixture
def trace(tmp_path: Path) -> Any:
    path = tmp_path / 'trace'
    yield path
    assert not path.exists(), path.read_text()


@pytest.fixture
def watched(tmp_path: Path) -> Any:
    """Folder of modules for processes that import torch, which must do so elsewhere than where they are."""
    noted, folder = tmp_path / 'noted', tmp_path / 'watched'
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(WATCH.format(str(noted)))
    yield folder
    if sys.platform == 'linux':
        assert set(noted.read_text().splitlines()) == {'/'}


def finding(*folders: Path) -> str:
    return os.pathsep.join(map(str, (*folders, ROOT)))


def plant(folder: Path, trace: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f'{name}.py').write_text(TRACE.format(str(trace)))
    return folder


def run_in(folder: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-W', 'ignore', *map(str, words)]
    environment = {**environment_of(), **variables}
    if 'PYTHONSAFEPATH' not in variables:  # programs that ran in the process of these tests have set it
        environment.pop('PYTHONSAFEPATH', None)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize('start', ['spawn', 'forkserver'])
def test_workers_import_nothing_from_it(tmp_path: Path, trace: Path, watched: Path, start: str) -> None:
    program = tmp_path / 'program/workers.py'
    program.parent.mkdir()
    program.write_text(WORKERS)
    folder = plant(tmp_path / 'here', trace, 'multiprocessing', 'random', 'socket', 'signal', 'numpy')
    done = run_in(folder, program, start, PYTHONPATH=finding(watched))
    assert done.stdout == 'loaded 4\n', done.stderr


@pytest.mark.slow
@pytest.mark.torch_since(2, 4)
@pytest.mark.skipif(not shutil.which('g++'), reason='the probe compiles')
def test_the_probe_for_vector_instructions_imports_nothing_from_it(tmp_path: Path, trace: Path) -> None:
    program = tmp_path / 'program/probe.py'
    program.parent.mkdir()
    program.write_text(PROBE)
    folder = plant(tmp_path / 'here', trace, 'ctypes', 'struct')
    done = run_in(folder, program, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / 'cache'))
    assert done.stdout.startswith('picked '), done.stderr


def test_a_module_run_imports_nothing_from_it(tmp_path: Path, trace: Path, watched: Path) -> None:
    folder = plant(
        tmp_path / 'here', trace, 'mmengine', 'torch', 'numpy', 'yaml', 'logging', 'argparse', 'mmhybrid_autoload'
    )
    done = run_in(folder, '-m', 'mmhybrid', '--version', PYTHONPATH=finding(watched))
    assert done.stdout.startswith('mmhybrid '), done.stderr


def test_ranks_are_started_without_it(tmp_path: Path, trace: Path, watched: Path) -> None:
    """Torch's own program would import torch in the current folder, and nothing of ours before."""
    folder = plant(tmp_path / 'here', trace, 'torch', 'mmengine', 'mmhybrid', 'argparse')
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    environment = {**environment_of(), 'PYTHONPATH': str(watched), 'PATH': path}
    words = ['bash', str(ROOT / 'tools/torchrun.sh'), '--help']
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert '--nproc-per-node' in done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != 'linux', reason='libraries are looked for there on Linux alone')
@pytest.mark.parametrize('ends', ['', 'raise ImportError("no library")'])
@pytest.mark.parametrize('removed', [False, True])
def test_torch_is_imported_elsewhere_and_the_folder_kept(tmp_path: Path, ends: str, removed: bool) -> None:
    (tmp_path / 'modules').mkdir()
    (tmp_path / 'modules/torch.py').write_text(f'import os; print("in", os.getcwd())\n{ends}')
    (tmp_path / 'here').mkdir()
    told = (
        f'import os, runpy\nmodule = runpy.run_path({current_folder.__file__!r})\nhere = os.stat(".")\n'
        f'if {removed}: os.rmdir({str(tmp_path / "here")!r})\ntry: module["import_torch"]()\n'
        'except ImportError as error: print(error)\nprint(os.path.samestat(here, os.stat(".")))'
    )
    done = run_in(tmp_path / 'here', '-c', told, PYTHONPATH=str(tmp_path / 'modules'))
    assert done.stdout.splitlines() == ['in /', *(['no library'] if ends else []), 'True'], done.stderr


def test_the_processes_of_torch_are_started_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compile workers and its probe load torch; other programs that it calls, such as compilers, stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TRITON_CACHE_DIR', 'own')
    starting = ModuleType('starting')
    compat.start_elsewhere(starting)
    told = 'import os; print(os.getcwd(), os.environ["TRITON_CACHE_DIR"])'
    for options in ({}, {'env': {'TRITON_CACHE_DIR': 'own'}}):
        done = starting.subprocess.run([sys.executable, '-c', told], capture_output=True, text=True, **options)
        assert done.stdout.split() == ['/', f'{tmp_path}/own']
        process = starting.subprocess.Popen([sys.executable, '-c', told], stdout=subprocess.PIPE, text=True, **options)
        assert process.communicate()[0].split() == ['/', f'{tmp_path}/own']
    assert starting.subprocess.run(['pwd'], capture_output=True, text=True).stdout.strip() == str(tmp_path)
    assert starting.subprocess.PIPE == subprocess.PIPE


def test_programs_import_mmhybrid_before_any_other_package() -> None:
    """Since it sees to what torch finds where it is imported."""
    first = {'mmhybrid', '_common'}
    programs = [path for folder in ('tools', 'benchmarks', 'docs/generate') for path in (ROOT / folder).glob('*.py')]
    found = {}
    for path in [*programs, ROOT / 'benchmarks/evidence/run.py']:
        names = []
        for line in ast.parse(path.read_text()).body:
            modules = [line.module] if isinstance(line, ast.ImportFrom) else []
            modules += [alias.name for alias in line.names] if isinstance(line, ast.Import) else []
            names += [module.partition('.')[0] for module in modules if module]
        others = [name for name in names if name not in sys.stdlib_module_names]
        if first.intersection(others) or 'torch' in others:
            found[path.name] = others[0]
    assert len(found) > 40
    assert {name: other for name, other in found.items() if other not in first} == {}


def test_a_clone_is_run_as_a_module(tmp_path: Path) -> None:
    """Of which nothing is installed: Python finds it in the current folder alone."""
    for name in ('mmhybrid', 'mmhybrid_autoload.py'):
        (tmp_path / name).symlink_to(ROOT / name)
    told = 'import sys, mmhybrid; print(mmhybrid.__file__)'
    packages = sysconfig.get_path('purelib')  # without what is installed as a link to a clone, as this one may be
    done = run_in(tmp_path, '-S', '-m', 'mmhybrid', '--version', PYTHONPATH=packages)
    assert done.stdout.startswith('mmhybrid '), done.stderr
    done = run_in(tmp_path, '-S', '-c', told, PYTHONPATH=packages)
    assert str(tmp_path) in done.stdout, done.stderr  # and so was that


@pytest.mark.slow
def test_what_the_user_names_is_found(tmp_path: Path) -> None:
    """By PYTHONPATH, in a run and in what it starts."""
    program = tmp_path / 'program/own.py'
    program.parent.mkdir()
    program.write_text(
        'import subprocess, sys\n'
        'from mmhybrid.engine.ranks import run\n'
        'import own_backbone\n'
        'run(lambda: subprocess.run([sys.executable, "-c", "import own_backbone; print(1)"], check=True))\n'
    )
    (tmp_path / 'own_backbone.py').touch()
    done = run_in(tmp_path, program, PYTHONPATH=f'.{os.pathsep}{ROOT}')
    assert done.stdout == '1\n', done.stderr
    arguments = ('-m', 'mmhybrid', 'report', 'none', '--import', 'own_backbone')
    assert "No module named 'own_backbone'" in run_in(tmp_path, *arguments).stderr
    assert 'own_backbone' not in run_in(tmp_path, *arguments, PYTHONPATH=f'.{os.pathsep}{ROOT}').stderr


@pytest.mark.parametrize(
    ('words', 'leaves'),
    [
        (['-m', 'mmhybrid'], True),
        (['-W', 'ignore', '-m', 'mmhybrid', 'report'], True),
        (['-mmmhybrid'], True),
        (['-Bm', 'mmhybrid.commands.train'], True),
        (['-m', 'mmhybridge'], False),
        (['-m', 'pytest', 'mmhybrid'], False),
        (['program.py', '-m', 'other'], False),
    ],
)
def test_the_current_folder_is_left_out_of_our_module_runs_alone(
    monkeypatch: pytest.MonkeyPatch, words: list[str], leaves: bool
) -> None:
    monkeypatch.setattr(sys, 'orig_argv', ['python', *words])
    monkeypatch.setattr(sys, 'argv', ['-m'])
    for file, others, keeps in (
        ('/site/mmhybrid/__init__.py', ['/x'], False),
        ('/here/mmhybrid/__init__.py', ['/x'], True),
    ):
        monkeypatch.setattr(sys, 'path', ['/here', *others])
        current_folder.leave_out_of_module_runs('mmhybrid', file)
        assert sys.path == (['/here', '/x'] if keeps or not leaves else ['/x'])


def test_programs_of_older_pythons_leave_it_out(tmp_path: Path, trace: Path) -> None:
    """Python before 3.11 knows no PYTHONSAFEPATH, and others may be told to ignore it."""
    folder = plant(tmp_path / 'here', trace, 'json')
    command = [sys.executable, '-c', 'import json; print(json.dumps([]))', '-c']
    told = current_folder.without_it(command)
    assert told[-1] == '-c'
    assert told[:2] == command[:2]
    assert run_in(folder, *told[1:], PYTHONSAFEPATH='').stdout == '[]\n'
    assert current_folder.without_it(['python', 'x.py', '-c']) == ['python', 'x.py', '-c']


def test_the_scripts_of_several_gpus_name_no_empty_folder(tmp_path: Path, trace: Path) -> None:
    """An empty name in PYTHONPATH is the current folder."""
    folder = plant(tmp_path / 'here', trace, 'torch', 'mmengine')
    scripts = {'dist_train': 'python', 'dist_test': 'python', 'torchrun': 'python', 'slurm_train': 'srun'}
    for script, program in scripts.items():
        stand_in = tmp_path / program
        stand_in.write_text('#!/bin/sh\necho "$PYTHONPATH"\n')
        stand_in.chmod(0o755)
        for given in ('', '/own'):
            variables = {**os.environ, 'PYTHONPATH': given, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
            words = ['bash', str(ROOT / f'tools/{script}.sh'), 'c', '2', '3', '4']
            done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, check=True)
            assert done.stdout.strip() == f'{ROOT}/tools/..' + (given and f':{given}')


@pytest.mark.parametrize(
    'name',
    [
        'libcuda.so.1',
        'libnvrtc.so.13',
        'libcask_profile_interface.so',
        'tls/libcuda.so.1',
        'x86_64/libcuda.so.1',
        'tls/haswell/x86_64/libcuda.so.1',
        'glibc-hwcaps/x86-64-v3/libcuda.so.1',
    ],
)
def test_libraries_that_torch_would_load_are_refused(tmp_path: Path, name: str) -> None:
    """Not run: what loads them is the CUDA build of torch, of which these tests need no more than the names."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b'no library')
    done = run_in(tmp_path, ROOT / 'tools' / 'plot_arch.py', '--help')
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        f'ImportError: the current folder has {name}, which torch would load in place of the one of the system: change '
        'to another folder'
    )


def test_other_libraries_and_a_loaded_torch_are_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / 'libmine.so.1').touch()
    assert run_in(tmp_path, '-c', 'import mmhybrid').returncode == 0
    (tmp_path / 'libcuda.so.1').touch()
    assert run_python('import mmhybrid', imported='torch mmengine', cwd=tmp_path).returncode == 0


@pytest.mark.parametrize('imports', ['mmhybrid, cv2', 'cv2, mmhybrid'])
@pytest.mark.parametrize(
    ('given', 'kept'), [(None, []), ('/opt/lib', ['/opt/lib']), ('lib:/opt/lib', ['lib', '/opt/lib'])]
)
def test_opencv_makes_it_no_folder_of_libraries(
    tmp_path: Path, imports: str, given: str | None, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that are started later take an empty entry for it."""
    monkeypatch.delenv('LD_LIBRARY_PATH', raising=False)
    told = f'import {imports}, os; print(repr(os.environ.get("LD_LIBRARY_PATH")))'
    variables = {} if given is None else {'LD_LIBRARY_PATH': given}
    done = run_python(told, imported='torch mmengine', cwd=tmp_path, **variables)
    entries = (ast.literal_eval(done.stdout) or '/').split(':')
    assert '' not in entries, done.stderr
    assert [entry for entry in entries if entry in kept] == kept
    assert all(entry.startswith('/') or entry in kept for entry in entries)


def test_an_empty_entry_of_the_user_stays(tmp_path: Path) -> None:
    told = 'import mmhybrid, cv2, os; print(os.environ["LD_LIBRARY_PATH"])'
    done = run_python(told, imported='torch mmengine', cwd=tmp_path, LD_LIBRARY_PATH='/opt/lib:')
    assert done.stdout.rstrip('\n').endswith(':/opt/lib:'), done.stderr
