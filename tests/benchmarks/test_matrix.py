"""`make matrix`: what a cell installs, what its report says, what has run is not run again, and what is told of it."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def matrix(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
    return import_module('matrix')


@pytest.fixture
def result(matrix):
    versions = {'python': '3.10.13', 'torch': '2.1.2', 'torchvision': '0.16.2', 'numpy': '1.26.4', 'optuna': '5.0.0'}
    versions |= {'mmengine': '0.10.7', 'mmcv-lite': '2.1.0'}
    return matrix.Result(
        '0123456789', 'digest', versions, 7, ['tests.test_a::test_b[c]'], {'needs torch 2.6': 2}, 'passed'
    )


def test_cells_are_chosen_by_name_and_kept_in_order(matrix):
    assert [cell.name for cell in matrix.read_cells()] == list(json.loads(matrix.CELLS.read_text()))
    assert [cell.name for cell in matrix.read_cells(['living', 'people'])] == ['people', 'living']
    with pytest.raises(ValueError, match=r"cell: got 'oldest', allowed: people, between, default"):
        matrix.read_cells(['oldest'])


@pytest.mark.parametrize('name', json.loads((ROOT / 'requirements/matrix.json').read_text()))
def test_a_cell_installs_each_distribution_once_and_one_line_of_hosts(matrix, name):
    (cell,) = matrix.read_cells([name])
    lines = cell.requirements()
    names = [matrix.distribution(line) for line in lines]
    assert len(names) == len(set(names))
    assert {matrix.distribution(pin) for pin in cell.pins} <= {*names}
    assert set(cell.pins) <= set(lines)
    assert not {*names} & {*cell.without}
    for alternatives in matrix.HOSTS.values():
        assert len({*names} & {*alternatives}) == 1
    loose = [line for line in lines if '==' not in line]
    assert set(loose) <= {'ninja', 'psutil', 'numpy'}


def test_pins_replace_what_the_files_state(matrix, tmp_path):
    (tmp_path / 'requirements').mkdir()
    (tmp_path / 'requirements/a.txt').write_text('# of a\nPsycopg[binary]==3 # driver\nnumpy==2\nruff==1\n')
    (tmp_path / 'requirements/b.txt').write_text('numpy==2\n\nmmcv_lite==2.1.0\n')
    cell = matrix.Cell('c', 'a cell', '3.10', ['a', 'b'], ['NumPy==1.26'], ['ruff'])
    assert cell.requirements(tmp_path) == ['mmcv_lite==2.1.0', 'NumPy==1.26', 'Psycopg[binary]==3']


def test_an_interpreter_that_is_not_there_is_one_sentence(matrix, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setenv('PYENV_ROOT', str(tmp_path))
    mine = '.'.join(map(str, sys.version_info[:2]))
    assert matrix.find_python(mine) == sys.executable
    with pytest.raises(ValueError, match=r'no Python 3\.3 on the path or of pyenv: `pyenv install 3\.3`'):
        matrix.find_python('3.3')
    python = tmp_path / 'versions/3.3.1/bin/python'
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho 3.3\n')
    python.chmod(0o755)
    assert matrix.find_python('3.3') == str(python)


TESTS = """
import numpy
import pytest
@pytest.mark.parametrize('i', range(3))
def test_passes(i): pass
def test_fails(): assert False
def test_skips(): pytest.skip('no GPU')
@pytest.mark.skipif(True, reason='old torch')
def test_skips_by_mark(): pass
@pytest.fixture
def broken(): raise ValueError
def test_errs(broken): pass
"""


def test_a_report_of_pytest_is_read(matrix, tmp_path):
    (tmp_path / 'test_it.py').write_text(TESTS)
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--junit-xml=tests.xml', 'test_it.py']
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    passed, failed, skipped = matrix.read_report(tmp_path / 'tests.xml')
    assert passed == 3
    assert failed == ['test_it::test_errs', 'test_it::test_fails']
    assert skipped == {'no GPU': 1, 'old torch': 1}


@pytest.fixture
def steps(matrix, result, monkeypatch):
    """What would run, in the place of the steps themselves."""
    ran = []

    def build(cell, folder, commit):
        ran.append('build')
        return matrix.Result(commit, steps['digest'], dict(result.versions))

    def test(made, folder):
        ran.append('test')
        made.passed = 7

    def demo(made, folder):
        ran.append('demo')
        if steps['interrupted']:
            raise KeyboardInterrupt
        made.demo = 'passed'

    steps = {'digest': 'a', 'interrupted': False, 'ran': ran}
    for step in (build, test, demo):
        monkeypatch.setattr(matrix, step.__name__, step)
    return steps


def test_what_has_run_for_a_commit_and_versions_is_not_run_again(matrix, steps, tmp_path):
    cell = matrix.Cell('c', 'a cell', '3.10', ())

    def ran(commit='1', until='demo', again=False):
        steps['ran'].clear()
        matrix.run_cell(cell, tmp_path, commit, until, again)
        return steps['ran'][1:]

    assert ran(until='build') == []
    assert ran(until='test') == ['test']
    steps['interrupted'] = True
    with pytest.raises(KeyboardInterrupt):
        ran()
    assert steps['ran'] == ['build', 'demo']
    steps['interrupted'] = False
    assert ran() == ['demo']
    assert ran() == []
    assert ran(again=True) == ['test', 'demo']
    assert ran('2') == ['test', 'demo']
    steps['digest'] = 'b'
    assert ran('2') == ['test', 'demo']


def test_results_of_other_cells_stay(matrix, steps, result, monkeypatch, tmp_path, capsys):
    page, results = tmp_path / 'support.md', tmp_path / 'support.json'
    page.write_text(f'# Title\n\n{matrix.BEGIN}\nold\n{matrix.END}\n\nThe rest.\n')
    monkeypatch.setattr(matrix, 'PAGE', page)
    monkeypatch.setattr(matrix, 'RESULTS', results)
    monkeypatch.setattr(matrix.write_page, '__defaults__', (page,))
    monkeypatch.setattr(matrix.keep, '__defaults__', (results,))
    monkeypatch.setattr(matrix.read_results, '__defaults__', (results,))
    matrix.keep({'living': result})
    matrix.main(['people', '--dir', str(tmp_path / 'cells')])
    found = matrix.read_results()
    assert found['living'] == result
    assert (found['people'].passed, found['people'].demo) == (7, 'passed')
    text = page.read_text()
    assert text.startswith('# Title\n')
    assert text.endswith('\n\nThe rest.\n')
    assert 'old' not in text
    with pytest.raises(SystemExit):
        matrix.main(['oldest'])
    assert "cell: got 'oldest'" in capsys.readouterr().err


def test_a_cell_that_cannot_be_built_costs_no_other(matrix, steps, monkeypatch, tmp_path):
    build, told = matrix.build, []

    def fails(cell, folder, commit):
        if cell.name == 'people':
            raise ValueError('no Python 3.10')
        return build(cell, folder, commit)

    monkeypatch.setattr(matrix, 'build', fails)
    monkeypatch.setattr(matrix, 'keep', lambda results: told.extend(results))
    monkeypatch.setattr(matrix, 'read_results', dict)
    monkeypatch.setattr(matrix, 'write_page', lambda *_: None)
    with pytest.raises(SystemExit, match=r'people: no Python 3\.10'):
        matrix.main(['people', 'default', '--dir', str(tmp_path)])
    assert told == ['default']


def test_the_table_tells_versions_numbers_and_reasons(matrix, result):
    cells = matrix.read_cells(['people', 'living'])
    header, line, people, living, *rest = matrix.render(cells, {'people': result}).splitlines()
    assert {row.count('|') for row in (header, line, people, living)} == {12}
    assert people == (
        '| what people have | 3.10.13 | 2.1.2, 0.16.2 | 1.26.4 | 5.0.0 | mmengine 0.10.7; mmcv-lite 2.1.0 '
        '| 7 | 1 | 2 | passed | 0123456 |'
    )
    assert living.endswith('not run |')
    assert '- **what people have**, skipped: 2 needs torch 2.6.' in rest
    assert '- **what people have**, failed: `tests.test_a::test_b[c]`.' in rest


def test_failed_tests_are_run_again_at_another_commit(matrix, result, steps, monkeypatch, tmp_path):
    """Of a test that passes, one that fails still, one that is gone, a file that failed to import, a renamed case."""
    code = tmp_path / 'code'
    (code / 'tests').mkdir(parents=True)
    (code / 'tests/test_a.py').write_text(
        'import pytest\n@pytest.mark.parametrize("x", ["c/d.md"])\ndef test_b(x): pass\ndef test_e(): assert False\n'
    )
    (tmp_path / 'venv/bin').mkdir(parents=True)
    python = tmp_path / 'venv/bin/python'  # no link: Python looks for packages beside the file that it is started by
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(matrix, 'test_environment', lambda _: {**os.environ})
    (code / 'tests/test_f.py').write_text('import pytest\ndef test_g(): pytest.skip()\ndef test_h(): pass\n')
    names = ['tests.test_a::test_b[c/d.md]', 'tests.test_a::test_e', 'tests.test_a::test_gone', '::tests.test_f']
    names += ['tests.test_a::test_b[renamed]']
    kept = tmp_path / 'result.json'
    cell = matrix.Cell('people', 'what people have', '3.10', ())
    with pytest.raises(ValueError, match='has not run'):
        matrix.run_failed(cell, tmp_path, 'b' * 40)
    kept.write_text(json.dumps(asdict(replace(result, failed=names))))
    found = matrix.run_failed(cell, tmp_path, 'b' * 40)
    assert found.mended == dict.fromkeys((names[0], names[3], names[4]), 'b' * 40)
    assert json.loads(kept.read_text()) == asdict(found)
    text = matrix.render([cell], {'people': found})
    assert '| 7 | 2 | 2 | passed | 0123456 |' in text
    assert '- **what people have**, failed: `tests.test_a::test_e`, `tests.test_a::test_gone`.' in text
    assert f'mended since (commit): `{names[0]}` (bbbbbbb), `{names[3]}` (bbbbbbb), ' in text


def test_the_page_is_what_the_results_say(matrix):
    table = matrix.PAGE.read_text().partition(matrix.BEGIN)[2].partition(matrix.END)[0]
    assert table.strip() == matrix.render(matrix.read_cells(), matrix.read_results()).strip()


def test_what_is_declared_is_what_the_matrix_has(matrix):
    """The oldest interpreter, torch, NumPy and Optuna are those of a cell, and each interpreter is named."""
    cells = matrix.read_cells()
    setup = (ROOT / 'setup.py').read_text()
    (python,) = re.findall(r"python_requires='>=(\S+)'", setup)
    assert python == min((cell.python for cell in cells), key=lambda text: [*map(int, text.split('.'))])
    assert re.findall(r'Python :: (3\.\d+)', setup) == sorted({cell.python for cell in cells})
    for name, file in (('torch', 'runtime'), ('numpy', 'runtime'), ('optuna', 'extras/search')):
        (declared,) = re.findall(rf'^{name}>=([\d.]+)', (ROOT / f'requirements/{file}.txt').read_text(), re.MULTILINE)
        pins = [
            line.partition('==')[2] for cell in cells for line in cell.requirements() if line.startswith(f'{name}==')
        ]
        oldest = min(pins, key=lambda text: [*map(int, text.split('.'))])
        assert f'{oldest}.'.startswith(f'{declared}.')


def test_make_hands_cells_and_folder_on():
    command = ['make', '-n', '--no-print-directory', 'matrix', 'CELLS=people living', 'MATRIX=/elsewhere']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert shlex.split(done.stdout)[1:] == ['benchmarks/matrix.py', 'people', 'living', '--dir', '/elsewhere']


def test_environment_is_built_once_and_the_code_each_time(matrix, monkeypatch, tmp_path):
    """Torch first, then what must not see it, then the rest; other versions make it anew."""
    ran = []

    def run(command, **_):
        ran.append(' '.join(map(str, command)).replace(str(tmp_path), 'CELL'))
        if ran[-1].endswith('-m venv CELL/venv'):
            python = tmp_path / 'venv/bin/python'
            python.parent.mkdir(parents=True)
            python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
            python.chmod(0o755)

    monkeypatch.setattr(matrix, 'run', run)
    (cell,) = matrix.read_cells(['living'])
    here = '.'.join(map(str, sys.version_info[:2]))
    cell = replace(cell, python=here)
    result = matrix.build(cell, tmp_path, 'abc')
    assert result.versions['python'].startswith(here)
    assert result.versions['numpy'] == numpy.__version__
    installs = [line.partition(' install ')[2] for line in ran if ' install ' in line]
    _, torch, isolated, rest, code = installs
    assert re.search(r'--no-build-isolation torch==\S+ torchvision==\S+ numpy==\S+$', torch)
    assert re.fullmatch(r'-q --disable-pip-version-check onedl-mmcv==\S+', isolated)
    assert rest.endswith('--no-build-isolation -r CELL/requirements.txt')
    assert code.endswith('--no-build-isolation --no-deps -e CELL/code')
    assert 'git -C CELL/code checkout -q --force --detach abc' in ran
    ran.clear()
    assert matrix.build(cell, tmp_path, 'abc') == result
    assert [line for line in ran if '-r CELL' in line or 'venv CELL' in line] == []
    other = replace(cell, pins=['numpy==1'])
    assert matrix.build(other, tmp_path, 'abc').digest != result.digest
    assert any(line.endswith('-m venv CELL/venv') for line in ran)
