"""Builds and tests the environments that mmhybrid supports, and writes the results to docs/support.md.

    python benchmarks/matrix.py [CELL ...] [--dir .matrix] [--until build|test|demo] [--again] [--failed] [--table]

A cell is an interpreter with versions of packages, described in requirements/matrix.json. Each cell has a folder below
``--dir`` with its environment, a clone of this repository at the commit that is checked out, and the results of its
steps: build, quick tests, demo. A step that ended for this commit and these versions is not run again, so cells can be
run and resumed one by one. Results go into docs/support.json, from which the table in docs/support.md is written; cells
that have not run keep their earlier results. ``--failed`` runs the tests that failed in a cell once more, at the commit
that is checked out now, and records which of them pass.

The program needs no package. The file is long because it imports no module of the project either.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CELLS = ROOT / 'requirements/matrix.json'
RESULTS = ROOT / 'docs/support.json'
PAGE = ROOT / 'docs/support.md'
STEPS = ('build', 'test', 'demo')
NOT_FOUND = 4  # pytest's exit code for a test that is not there
BEGIN, END = '<!-- written by benchmarks/matrix.py -->', '<!-- end -->'
# Hosts in the table, and the distributions that may provide each.
HOSTS = {
    'MMEngine': ('mmengine', 'onedl-mmengine'),
    'MMCV': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'MMPretrain': ('mmpretrain', 'onedl-mmpretrain'),
    'MMDetection': ('mmdet', 'onedl-mmdetection'),
    'MMSegmentation': ('mmsegmentation', 'onedl-mmsegmentation'),
}
PACKAGES = ('torch', 'torchvision', 'numpy', 'optuna', *(name for names in HOSTS.values() for name in names))
# Installed first, since other packages are built with them.
FIRST = ('torch', 'torchvision', 'numpy', 'ninja', 'psutil')
LIST_VERSIONS = """
import json, sys
from importlib import metadata
found = {'python': '.'.join(map(str, sys.version_info[:3]))}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Cell:
    """An environment of the matrix.

    Args:
        name: Name on the command line.
        about: Name in the table.
        python: Major and minor version of the interpreter.
        files: Names of files in requirements/.
        pins: Requirements that replace those of the same distribution in the files.
        without: Distributions of the files that are left out.
        isolated: Distributions that are built where they cannot see torch. ``onedl-mmcv`` then leaves out its
            operators, which do not compile with C++17 on torch 2.14.
        environment: Environment variables during the installation.
    """

    name: str
    about: str
    python: str
    files: Sequence[str]
    pins: Sequence[str] = ()
    without: Sequence[str] = ()
    isolated: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def requirements(self, root: Path = ROOT) -> list[str]:
        """The requirements to install, one for each distribution."""
        lines = [line for name in self.files for line in (root / f'requirements/{name}.txt').read_text().splitlines()]
        stated = [line for line in (line.split('#')[0].strip() for line in lines) if line]
        found = {distribution(line): line for line in (*stated, *self.pins)}
        return [line for name, line in sorted(found.items()) if name not in self.without]


@dataclass
class Result:
    """The results of a cell.

    Args:
        commit: Commit of the code that ran.
        digest: Hash of the requirements.
        versions: Versions of Python and of the installed :data:`PACKAGES`.
        passed: Number of quick tests that passed.
        failed: Names of the tests that failed.
        skipped: Number of skipped tests for each reason.
        demo: Result of the demo: passed, failed, or empty where it has not run.
        mended: Failed tests that passed later, each with the commit.
    """

    commit: str
    digest: str
    versions: dict[str, str]
    passed: int | None = None
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    demo: str = ''
    mended: dict[str, str] = field(default_factory=dict)


def distribution(requirement: str) -> str:
    """The normalized name of the distribution in a requirement."""
    found = re.match(r'[\w.-]+', requirement)
    assert found, requirement
    return re.sub(r'[-_.]+', '-', found[0]).lower()


def read_cells(names: Sequence[str] = ()) -> list[Cell]:
    """Read the cells of these names (all if none are given), in the order of the file.

    Raises:
        ValueError: If there is no cell of a name.
    """
    cells = [Cell(name, **values) for name, values in json.loads(CELLS.read_text()).items()]
    known = [cell.name for cell in cells]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f'cell: got {unknown[0]!r}, allowed: {", ".join(known)}')
    return [cell for cell in cells if not names or cell.name in names]


def read_results(path: Path = RESULTS) -> dict[str, Result]:
    """Read the results of all cells that have run."""
    return {name: Result(**values) for name, values in json.loads(path.read_text()).items()} if path.exists() else {}


def write_whole(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    draft = path.with_name(f'.{path.name}.{os.getpid()}')
    draft.unlink(missing_ok=True)
    with draft.open('x') as file:  # never through a link that somebody else put there
        file.write(text)
    os.replace(draft, path)


def keep(results: dict[str, Result], path: Path = RESULTS) -> None:
    """Write results."""
    write_whole(path, json.dumps({name: asdict(result) for name, result in results.items()}, indent=1) + '\n')


def find_python(version: str) -> str:
    """Find an interpreter of a version on the path or among pyenv's.

    Raises:
        ValueError: If there is none.
    """
    pyenv = Path(os.environ.get('PYENV_ROOT', Path.home() / '.pyenv'), 'versions')
    candidates = [sys.executable, shutil.which(f'python{version}')]
    candidates += sorted(map(str, pyenv.glob(f'{version}.*/bin/python')), reverse=True)
    told = 'import sys; print("%d.%d" % sys.version_info[:2])'
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, '-c', told], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    raise ValueError(f'no Python {version} on the path or of pyenv: `pyenv install {version}`')


def run(command: Sequence[object], **options: Any) -> None:
    """Print and run a command that has to succeed."""
    print('$', *command, flush=True)
    subprocess.run(list(map(str, command)), check=True, **options)


def build(cell: Cell, folder: Path, commit: str) -> Result:
    """Make the environment and the clone of a cell where they are missing or out of date."""
    venv, code, wanted = folder / 'venv', folder / 'code', folder / 'requirements.txt'
    python = venv / 'bin/python'
    text = '\n'.join(cell.requirements()) + '\n'
    digest = hashlib.sha256(f'{cell.python} {cell.environment} {text}'.encode()).hexdigest()[:12]
    stamp = folder / 'built'
    environment = {**os.environ, **cell.environment}
    environment.pop('PYTHONPATH', None)
    isolated = [python, '-m', 'pip', 'install', '-q', '--disable-pip-version-check']
    pip = [*isolated, '--no-build-isolation']
    if not stamp.exists() or stamp.read_text() != digest:
        if wanted.exists() and wanted.read_text() != text:
            shutil.rmtree(venv, ignore_errors=True)
        if not python.exists():
            run([find_python(cell.python), '-m', 'venv', venv])
        write_whole(wanted, text)
        lines = {distribution(line): line for line in cell.requirements()}
        run([*pip, '-r', ROOT / 'requirements/build.txt'], env=environment)
        run([*pip, *(lines[name] for name in FIRST if name in lines)], env=environment)
        if cell.isolated:
            run([*isolated, *(lines[name] for name in cell.isolated)], env=environment)
        run([*pip, '-r', wanted], env=environment)
        write_whole(stamp, digest)
    if not code.exists():
        run(['git', 'clone', '-q', '--shared', '--no-checkout', ROOT, code])
    run(['git', '-C', code, 'fetch', '-q', 'origin', commit])
    run(['git', '-C', code, 'checkout', '-q', '--force', '--detach', commit])
    run([*pip, '--no-deps', '-e', code], env=environment)
    run([python, '-m', 'pip', 'check', '--disable-pip-version-check'], env=environment)
    listed = subprocess.run([python, '-c', LIST_VERSIONS, *PACKAGES], capture_output=True, text=True, check=True)
    return Result(commit, digest, json.loads(listed.stdout))


def test(result: Result, folder: Path) -> None:
    """Run the quick tests, and enter their counts into ``result``."""
    report = folder / 'tests.xml'
    report.unlink(missing_ok=True)
    workers = [
        '-n',
        '2',
        '--dist',
        'loadfile',
        '--max-worker-restart',
        '0',
    ]  # otherwise pytest-xdist would wait for a lost worker
    command = [folder / 'venv/bin/python', '-m', 'pytest', *workers, '-m', 'not slow']
    command += ['--show-capture=no', f'--junit-xml={report}']
    print('$', *command, flush=True)
    subprocess.run(list(map(str, command)), cwd=folder / 'code', env=test_environment(folder), check=False)
    if not report.exists():
        raise ValueError(f'the tests ended before they wrote {report}')
    result.passed, result.failed, result.skipped = read_report(report)


def test_failed(result: Result, folder: Path, commit: str) -> None:
    """Run the failed tests once more at another commit, and enter those that do not fail there into ``result``.

    For a file that could not be imported all its tests run, for a case that was renamed all cases of its test.
    """
    report = folder / 'tests-again.xml'
    for name in [name for name in result.failed if name not in result.mended]:
        module, *cases = name.lstrip(':').split('::', 1)
        test = '::'.join([f'{module.replace(".", "/")}.py', *cases])
        for tried in dict.fromkeys((test, test.partition('[')[0])):
            report.unlink(missing_ok=True)
            command = [folder / 'venv/bin/python', '-m', 'pytest', tried, '--show-capture=no', f'--junit-xml={report}']
            print('$', *command, flush=True)
            environment = test_environment(folder)
            done = subprocess.run(list(map(str, command)), cwd=folder / 'code', env=environment, check=False)
            if done.returncode != NOT_FOUND:
                break
        passed, failed, skipped = read_report(report) if report.exists() else (0, [], {})
        if (passed or skipped) and not failed:
            result.mended[name] = commit


def test_environment(folder: Path) -> dict[str, str]:
    """Environment variables of tests and demo: the cell's commands come first, PYTHONPATH is removed."""
    path = f'{folder / "venv/bin"}{os.pathsep}{os.environ["PATH"]}'
    return {**{name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}, 'PATH': path}


def read_report(path: Path) -> tuple[int, list[str], dict[str, int]]:
    """Read a JUnit report: number of passed tests, names of failed ones, and number of skipped ones by reason."""
    passed, failed, skipped = 0, [], Counter[str]()
    for case in ET.parse(path).iter('testcase'):
        reason = case.find('skipped')
        if case.find('failure') is not None or case.find('error') is not None:
            failed.append(f'{case.get("classname")}::{case.get("name")}')
        elif reason is not None:
            skipped[reason.get('message') or ''] += 1
        else:
            passed += 1
    return passed, sorted(failed), dict(sorted(skipped.items()))


def demo(result: Result, folder: Path) -> None:
    """Run the demo in the clone."""
    command = [str(folder / 'venv/bin/python'), 'tools/demo.py']
    print('$', *command, flush=True)
    done = subprocess.run(command, cwd=folder / 'code', env=test_environment(folder), check=False)
    result.demo = 'failed' if done.returncode else 'passed'


def run_cell(cell: Cell, folder: Path, commit: str, until: str, again: bool) -> Result:
    """Run the steps that a cell has not run yet for this commit, and write its result after each."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / 'result.json'
    result = build(cell, folder, commit)
    if kept.exists() and not again:
        before = Result(**json.loads(kept.read_text()))
        if (before.commit, before.digest, before.versions) == (result.commit, result.digest, result.versions):
            result = before
    for step, runs, has_run in (('test', test, result.passed is not None), ('demo', demo, bool(result.demo))):
        if not has_run and STEPS.index(step) <= STEPS.index(until):
            began = time.monotonic()
            runs(result, folder)
            write_whole(kept, json.dumps(asdict(result)))
            print(f'{cell.name}: {step} took {(time.monotonic() - began) / 60:.0f} minutes', flush=True)
    return result


def run_failed(cell: Cell, folder: Path, commit: str) -> Result:
    """Run the failed tests of a cell once more.

    Raises:
        ValueError: If its tests have not run, or have run with other versions.
    """
    kept = folder / 'result.json'
    if not kept.exists():
        raise ValueError('has not run')
    result = Result(**json.loads(kept.read_text()))
    now = build(cell, folder, commit)
    if now.versions != result.versions:
        raise ValueError(f'ran with {result.versions}, and has {now.versions} now')
    test_failed(result, folder, commit)
    write_whole(kept, json.dumps(asdict(result)))
    return result


def render(cells: Sequence[Cell], results: dict[str, Result]) -> str:
    """The table in Markdown, and below it which tests failed and why tests were skipped."""
    lines = [
        '| | Python | torch, torchvision | NumPy | Optuna | hosts | passed | failed | skipped | demo | commit |',
        '| --- ' * 11 + '|',
    ]
    notes = []
    for cell in cells:
        result = results.get(cell.name)
        if result is None:
            lines.append(f'| {cell.about} | {cell.python} |' + ' |' * 8 + ' not run |')
            continue
        found = result.versions
        hosts = '; '.join(f'{name} {found[name]}' for names in HOSTS.values() for name in names if name in found)
        skipped = sum(result.skipped.values())
        failed = [name for name in result.failed if name not in result.mended]
        counts = ['', '', ''] if result.passed is None else [result.passed, len(failed), skipped]
        torch = f'{found["torch"]}, {found["torchvision"]}'
        row = [cell.about, found['python'], torch, found['numpy'], found['optuna'], hosts, *counts]
        lines.append('| ' + ' | '.join(map(str, [*row, result.demo or 'not run', result.commit[:7]])) + ' |')
        reasons = '; '.join(f'{count} {reason}' for reason, count in result.skipped.items())
        notes += [f'- **{cell.about}**, skipped: {reasons}.'] if reasons else []
        notes += [f'- **{cell.about}**, failed: {", ".join(map("`{}`".format, failed))}.'] if failed else []
        mended = ', '.join(f'`{name}` ({commit[:7]})' for name, commit in result.mended.items())
        notes += [f'- **{cell.about}**, failed, and mended since (commit): {mended}.'] if mended else []
    return '\n'.join([*lines, '', *notes]).rstrip('\n') + '\n'


def write_page(cells: Sequence[Cell], results: dict[str, Result], page: Path = PAGE) -> None:
    """Write the table between its marks in the document."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    write_whole(page, f'{before}{BEGIN}\n\n{render(cells, results)}\n{END}{after}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run cells, and write their results."""
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('cells', nargs='*', metavar='CELL', help='cells of requirements/matrix.json; default: all')
    parser.add_argument('--dir', type=Path, default=ROOT / '.matrix', help='folder of the cells; default: .matrix')
    parser.add_argument('--until', choices=STEPS, default='demo', help='last step to run; default: demo')
    parser.add_argument('--again', action='store_true', help='repeat tests and demo that have run for this commit')
    parser.add_argument('--failed', action='store_true', help='run failed tests once more, at this commit')
    parser.add_argument('--table', action='store_true', help='run nothing and write the results in --dir')
    args = parser.parse_args(argv)
    try:
        cells = read_cells(args.cells)
    except ValueError as error:
        parser.error(str(error))
    git = ['git', '-C', str(ROOT)]
    commit = subprocess.run([*git, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True).stdout.strip()
    if subprocess.run([*git, 'diff', '--quiet', 'HEAD'], check=False).returncode:
        print(f'changes that are not committed are left out: {commit[:7]} runs')
    broken = []
    for cell in cells:
        folder = args.dir.resolve() / cell.name
        try:
            if args.table:
                kept = folder / 'result.json'
                result = Result(**json.loads(kept.read_text())) if kept.exists() else None
            elif args.failed:
                result = run_failed(cell, folder, commit)
            else:
                result = run_cell(cell, folder, commit, args.until, args.again)
        except (ValueError, subprocess.CalledProcessError) as error:
            broken.append(f'{cell.name}: {error}')
            continue
        if result is not None and result.passed is not None:
            keep({**read_results(), cell.name: result})
        write_page(read_cells(), read_results())
    if broken:
        sys.exit('\n'.join(broken))


if __name__ == '__main__':
    main()
