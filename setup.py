"""The package's definition; tool settings live in pyproject.toml."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
HOSTS = ('mim', 'onedl', 'openmmlab')
APART = (*HOSTS, 'executorch')  # which is compiled for one release of torch
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


def read_version() -> str:
    """The version, without importing the package."""
    found = re.search(r"__version__ = '(.+)'", (ROOT / 'mmhybrid' / 'version.py').read_text())
    assert found, 'mmhybrid/version.py states no version'
    return found.group(1)


def read_requirements(path: Path) -> list[str]:
    """The requirement lines of a file, comments left out."""
    lines = path.read_text().splitlines()
    return [line.split('#')[0].strip() for line in lines if line.split('#')[0].strip()]


def read_extras() -> dict[str, list[str]]:
    """What each extra installs; ``all`` is all of them but the hosts, of which one has to choose, and ExecuTorch."""
    extras = {path.stem: read_requirements(path) for path in sorted((ROOT / 'requirements/extras').glob('*.txt'))}
    chosen = (lines for name, lines in extras.items() if name not in APART)
    return {**extras, 'all': [line for lines in chosen for line in lines]}


class BuildWithMim(build_py):
    """Puts into ``mmhybrid/.mim`` what OpenMMLab's tools look for there: copies, or links for an editable installation.

    A clone has the links, an sdist has not.
    """

    def run(self) -> None:
        """Build the package, then copy or link."""
        super().run()
        target = Path(ROOT if self.editable_mode else self.build_lib, 'mmhybrid', '.mim')
        if self.editable_mode and target.exists():
            return
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM_CONTENT:
            if self.editable_mode:
                (target / name).symlink_to(Path('../..', name))
            elif (ROOT / name).is_dir():
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
        author='The mmhybrid contributors',
        license='Apache-2.0',
        license_files=['LICENSE'],
        keywords=['vision backbones', 'neural architecture search', 'OpenMMLab'],
        project_urls={
            'GLNet': 'https://github.com/rayleizhu/GLMix',
            'GLiT': 'https://github.com/bychen515/GLiT',
            'OpenMMLab': 'https://github.com/open-mmlab',
        },
        classifiers=[
            'Development Status :: 4 - Beta',
            'Intended Audience :: Science/Research',
            'Operating System :: OS Independent',
            'Programming Language :: Python :: 3',
            'Programming Language :: Python :: 3.10',
            'Programming Language :: Python :: 3.11',
            'Programming Language :: Python :: 3.12',
            'Programming Language :: Python :: 3.13',
            'Topic :: Scientific/Engineering :: Artificial Intelligence',
            'Topic :: Scientific/Engineering :: Image Recognition',
        ],
        python_requires='>=3.10',
        packages=find_packages(include=['mmhybrid', 'mmhybrid.*']),
        # by a path: else `import mmhybrid` in the folder that has the clone finds the clone's folder, and no package
        options={'editable_wheel': {'mode': 'compat'}},
        py_modules=['mmhybrid_autoload'],
        cmdclass={'build_py': BuildWithMim},
        entry_points={
            'console_scripts': ['mmhybrid = mmhybrid.__main__:main'],
            'torch.backends': ['mmhybrid = mmhybrid_autoload:find_operators'],
        },
        install_requires=read_requirements(ROOT / 'requirements/runtime.txt'),
        extras_require=read_extras(),
        zip_safe=False,
    )
