"""docs/architecture.md speaks of every package and of every dependency, and its rule of imports holds."""

import ast
import re
from pathlib import Path

import pytest
from doc_blocks import ROOT
from packaging.requirements import Requirement

pytestmark = pytest.mark.docs
TEXT = (ROOT / 'docs/architecture.md').read_text()
# What a package may import of the others; `registry`, `utils`, `torch_api` and `version` are everybody's.
MAY_IMPORT = {
    'archs': set(),
    'space': {'archs'},
    'search': {'space'},
    'mmcv_ops': set(),
    'models': {'archs', 'space'},
    'datasets': {'models'},
    'counting': {'archs', 'space', 'models'},
    'latency': {'archs', 'space', 'models', 'counting'},
    'visualization': {'archs', 'space', 'search', 'models'},
    'engine': {'archs', 'space', 'search', 'models', 'counting', 'latency', 'datasets'},
    'apis': {'archs', 'space', 'search', 'models', 'counting', 'latency', 'datasets', 'engine'},
    'commands': {
        *('archs', 'space', 'search', 'models', 'counting', 'latency', 'datasets', 'visualization', 'engine', 'apis'),
        'model_index',
    },
}


def test_names_every_package() -> None:
    packages = [path.parent.name for path in (ROOT / 'mmhybrid').glob('*/__init__.py')]
    assert {*packages, 'utils'} == {*MAY_IMPORT, 'utils'}
    assert not [package for package in packages if f'mmhybrid/{package}' not in TEXT]


def test_the_picture_is_of_the_imports() -> None:
    """Each arrow is an import, and each import can be walked along arrows."""
    picture = re.search(r'```mermaid\n(.*?)```', TEXT, re.DOTALL)
    assert picture
    arrows = set(re.findall(r'(\w+)(?:\[.*?\])? --> (\w+)', picture[1]))
    imported = {
        (package, other)
        for package in MAY_IMPORT
        for other in set().union(*map(imports, (ROOT / 'mmhybrid' / package).rglob('*.py')))
        if other in MAY_IMPORT and other != package
    }
    assert arrows <= imported
    walks = set(arrows)
    for _ in MAY_IMPORT:
        walks |= {(start, end) for start, middle in walks for begin, end in arrows if middle == begin}
    assert imported <= walks
    assert not [package for package in MAY_IMPORT if (package, package) in walks]


def test_names_every_dependency() -> None:
    table = TEXT.partition('## Dependencies')[2]
    named = {name for row in re.findall(r'^\| ([^|]*) \|', table, re.MULTILINE) for name in re.findall(r'[\w-]+', row)}
    lines = [line.split('#')[0].strip() for path in (ROOT / 'requirements').rglob('*.txt') for line in path.open()]
    assert {Requirement(line).name for line in lines if line} <= named


@pytest.mark.parametrize('package', MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    imported = set().union(*map(imports, (ROOT / 'mmhybrid' / package).rglob('*.py')))
    assert imported - {package, 'registry', 'utils', 'compat', 'torch_api', 'version'} <= MAY_IMPORT[package]


# The packages within `models`, each of which imports of the others only those before it.
WITHIN_MODELS = ('layers', 'backbones', 'supernets', 'one_shot')


@pytest.mark.parametrize('package', WITHIN_MODELS)
def test_imports_within_models_run_one_way(package: str) -> None:
    folder = ROOT / 'mmhybrid/models'
    imported = set().union(*map(modules, [*folder.glob(f'{package}/**/*.py'), *folder.glob(f'{package}.py')]))
    later = {f'mmhybrid.models.{name}' for name in WITHIN_MODELS[WITHIN_MODELS.index(package) + 1 :]}
    assert not [name for name in imported if '.'.join(name.split('.')[:3]) in later]


def test_detectors_and_segmentors_are_imported_by_configs_and_tests_only() -> None:
    found = {path: modules(path) for folder in ('mmhybrid', 'tools') for path in (ROOT / folder).rglob('*.py')}
    assert len(found) > 80
    assert not [path for path, names in found.items() if {name.split('.')[0] for name in names} & {'mmdet', 'mmseg'}]


def test_names_every_file_beside_the_packages() -> None:
    files = [path.name for path in (ROOT / 'mmhybrid').glob('*.py') if path.name not in ('__init__.py', 'version.py')]
    assert files
    assert not [name for name in files if f'mmhybrid/{name}' not in TEXT]


@pytest.mark.parametrize('package', ['counting', 'latency', 'search', 'engine', 'apis'])
def test_names_every_file_of_the_packages_whose_files_are_named(package: str) -> None:
    """And nothing else by a bare name."""
    (row,) = re.findall(rf'^\| `mmhybrid/{package}` \| (.*) \|$', TEXT, re.MULTILINE)
    files = {path.stem for path in (ROOT / 'mmhybrid' / package).glob('*.py')} - {'__init__'}
    assert files == set(re.findall(r'`(\w+)`', row))


def test_both_ways_of_importing_are_seen(tmp_path: Path) -> None:
    (tmp_path / 'a.py').write_text(
        'import mmhybrid.space.base as b, os\nfrom mmhybrid import search\nfrom .engine import x'
    )
    assert imports(tmp_path / 'a.py') == {'space', 'search'}


def imports(path: Path) -> set[str]:
    """The packages that a module imports."""
    return {name.split('.')[1] for name in modules(path) if name.startswith('mmhybrid.')}


def modules(path: Path) -> set[str]:
    """The modules that a module imports, and the names it imports from them, as if they were modules too."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {
        f'{node.module}.{alias.name}'
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }
