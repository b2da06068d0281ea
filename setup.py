"""The package's definition; tool settings live in pyproject.toml."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

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


class BuildWithMim(build_py):
    """Copies to ``mmhybrid/.mim`` what OpenMMLab's tools look for there; a clone has links, for what is not built."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, 'mmhybrid', '.mim')
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM_CONTENT:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(ROOT / name, target / name)


if __name__ == '__main__':
    setup(
        name='mmhybrid',
        version=read_version(),
        description='Hybrid convolution-attention backbones and their architecture search for OpenMMLab',
        long_description=(ROOT / 'README.md').read_text(),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        python_requires='>=3.11',
        packages=find_packages(include=['mmhybrid', 'mmhybrid.*']),
        py_modules=['mmhybrid_autoload'],
        cmdclass={'build_py': BuildWithMim},
        entry_points={
            'console_scripts': ['mmhybrid = mmhybrid.__main__:main'],
            'torch.backends': ['mmhybrid = mmhybrid_autoload:find_operators'],
        },
        install_requires=read_requirements('runtime.txt'),
        zip_safe=False,
    )
