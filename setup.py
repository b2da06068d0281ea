"""The package's definition; tool settings live in pyproject.toml."""

import os
import re
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


def read_version() -> str:
    """The version, without importing the package."""
    found = re.search(r"__version__ = '(.+)'", (ROOT / 'mmhybrid' / 'version.py').read_text())
    assert found, 'mmhybrid/version.py states no version'
    return found.group(1)


def read_requirements(name: str) -> list[str]:
    """The requirement lines of a file, comments left out."""
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return [line.split('#')[0].strip() for line in lines if line.split('#')[0].strip()]


def lay_out_mim() -> None:
    """Put configs, tools and the model index under ``mmhybrid/.mim``, where OpenMMLab's tools look for them.

    Links serve an editable installation, copies a wheel or an sdist.
    """
    editable = any(command in sys.argv for command in ('develop', 'editable_wheel'))
    target = ROOT / 'mmhybrid' / '.mim'
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in MIM_CONTENT:
        source = ROOT / name
        if editable:
            os.symlink(os.path.relpath(source, target), target / name)
        elif source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, target / name)


def mim_files() -> list[str]:
    """What of ``.mim`` goes into a wheel, relative to the package."""
    package = ROOT / 'mmhybrid'
    return [str(path.relative_to(package)) for path in (package / '.mim').rglob('*') if path.is_file()]


if __name__ == '__main__':
    # an sdist holds the real folders, so its own setup.py finds them again
    if any(command in sys.argv for command in ('develop', 'editable_wheel', 'bdist_wheel', 'build', 'install')):
        lay_out_mim()
    setup(
        name='mmhybrid',
        version=read_version(),
        description='Hybrid convolution-attention backbones and their architecture search for OpenMMLab',
        long_description=(ROOT / 'README.md').read_text(),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        python_requires='>=3.10',
        packages=find_packages(include=['mmhybrid', 'mmhybrid.*']),
        py_modules=['mmhybrid_autoload'],
        package_data={'mmhybrid': mim_files()},
        entry_points={'torch.backends': ['mmhybrid = mmhybrid_autoload:find_operators']},
        install_requires=read_requirements('runtime.txt'),
        zip_safe=False,
    )
