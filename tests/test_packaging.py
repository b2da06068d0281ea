"""What a wheel holds."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ('mmhybrid', 'configs', 'tools', 'requirements')
FILES = ('setup.py', 'mmhybrid_autoload.py', 'pyproject.toml', 'README.md', 'LICENSE', 'model-index.yml')


def test_wheel_holds_the_package_and_what_mim_looks_for(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    source.mkdir()
    ignored = shutil.ignore_patterns('__pycache__', '.mim')
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        '-m',
        'pip',
        'wheel',
        '.',
        '--no-deps',
        '--no-build-isolation',
        '-q',
        '-w',
        str(tmp_path),
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob('mmhybrid-*.whl')
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder, target in (
        ('mmhybrid', 'mmhybrid'),
        ('configs', 'mmhybrid/.mim/configs'),
        ('tools', 'mmhybrid/.mim/tools'),
    ):
        expected = {f'{target}/{path.relative_to(ROOT / folder)}' for path in (ROOT / folder).rglob('*.py')}
        assert expected - held == set()
    assert {'mmhybrid/.mim/model-index.yml', 'mmhybrid_autoload.py'} <= held
    assert not any('tests/' in name or '__pycache__' in name for name in held)
