"""A hook of MkDocs (named in mkdocs.yml) that adds the pages of the site that are not in docs/.

These are README.md, CONTRIBUTING.md and CHANGELOG.md, a page for each file of the repository that a page links to, the
page of programs, and the pages of the Python API, whose names come from the packages and their registries.
"""

import ast
import os.path
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mermaidx import render
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Pages that are files in the root of the repository.
OF_ROOT = {'index.md': 'README.md', 'contributing.md': 'CONTRIBUTING.md', 'changelog.md': 'CHANGELOG.md'}
PAGES_OF_ROOT = {path: page for page, path in OF_ROOT.items()}
LINK = re.compile(r'(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))')
CELL = re.compile(r'<td.*?</td>', re.DOTALL)
CODE = re.compile(r'(?<=<code>)[^<]+(?=</code>)')
UNIT = re.compile(r'(\d) (?=(?:%|[GM]|GB|MiB|ms|px|s|x \d+)(?![\w]))|(?<=\d x) (?=\d)')
LANGUAGES = {'.json': 'json', '.py': 'python', '.yml': 'yaml'}


@dataclass(frozen=True)
class ApiPage:
    """A page of the Python API.

    Args:
        title: Title of the page.
        modules: Packages and modules whose public names it has: of a package those in ``__all__``, of a module all
            public classes, functions, registries and tables.
        registries: Registries of which it has all classes that no page has by its modules.
    """

    title: str
    modules: tuple[str, ...]
    registries: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublicName:
    """A public class, function, registry or table.

    Args:
        path: Dotted name by which it is imported.
        home: Dotted name where it is defined, or where the package that has it imports it from.
    """

    path: str
    home: str


API = {
    'models': ApiPage(
        'Backbones, necks and heads', ('models', 'models.backbones.base', 'models.backbones.adapter', 'models.parts')
    ),
    'spaces': ApiPage('Spaces', ('space',)),
    'supernets': ApiPage('Supernets and mutators', ('models.supernets',), ('MODELS', 'MUTATORS')),
    'engine': ApiPage(
        'Engine',
        ('engine',),
        ('DATA_SAMPLERS', 'HOOKS', 'LOOPS', 'OPTIM_WRAPPERS', 'OPTIM_WRAPPER_CONSTRUCTORS'),
    ),
    'search': ApiPage('Search', ('search',), ('SAMPLERS',)),
    'latency': ApiPage(
        'Latency and other costs',
        (
            *('counting.workload', 'counting.estimator', 'counting.complexity'),
            *('latency.load', 'latency.table', 'latency.analytic', 'latency.fitted', 'latency.filled'),
            *('latency.devices', 'latency.backends', 'latency.profile', 'latency.timing', 'latency.single'),
            *('latency.calibration', 'latency.held_out', 'latency.bundle', 'latency.remote'),
        ),
    ),
    'apis': ApiPage('What programs do, as functions', ('apis',)),
    'archs': ApiPage('Architectures', ('archs',)),
    'datasets': ApiPage('Data sets and transforms', (), ('DATASETS', 'TRANSFORMS')),
    'registry': ApiPage('Registries', ('registry',)),
}


def on_config(config: MkDocsConfig) -> None:
    """Draw Mermaid blocks when the site is built."""
    fence = {'name': 'mermaid', 'class': 'mermaid', 'format': drawn}
    config.mdx_configs['pymdownx.superfences'] = {'custom_fences': [fence]}


def drawn(source: str, *_: Any, **__: Any) -> str:
    """A Mermaid diagram as SVG within the page."""
    return f'<div class="diagram">{render(source).svg()}</div>'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    pages = {page: (ROOT / path).read_text() for page, path in OF_ROOT.items()}
    texts = pages | {file.src_uri: file.content_string for file in files.documentation_pages()}
    linked = {target for page, text in texts.items() for target in targets(page, text)}
    elsewhere = {path for path in linked if path not in PAGES_OF_ROOT and not path.startswith('docs/')}
    pages |= {source_page(path): source(path) for path in sorted(elsewhere)}
    pages |= {'programs.md': programs(), **api_pages()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Rewrite links so that they reach on the site what they reach in the repository."""
    here = page.file.src_uri

    def replaced(link: re.Match[str]) -> str:
        target = target_of(here, link[1])
        if target in PAGES_OF_ROOT:
            reached = PAGES_OF_ROOT[target]
        elif target.startswith('docs/'):
            reached = target.removeprefix('docs/')
        else:
            reached = source_page(target)
        return relpath(reached, dirname(here) or '.') + (link[2] or '')

    return markdown if is_made(here) else LINK.sub(replaced, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Let long names in tables break between their parts, and keep numbers with their units."""
    return CELL.sub(lambda cell: UNIT.sub('\\1\N{NO-BREAK SPACE}', CODE.sub(breakable, cell[0])), html)


def breakable(code: re.Match[str]) -> str:
    """A name as code in which a line may break between its parts."""
    return re.sub(r'(?<=[,/_.=-])(?=\w)', '<wbr>', code[0])


def is_made(page: str) -> bool:
    """Whether a page is generated and no file of the repository."""
    return page.startswith(('source/', 'reference/')) or page == 'programs.md'


def path_of(page: str) -> str:
    """The file of the repository that a page shows."""
    return OF_ROOT.get(page, f'docs/{page}')


def targets(page: str, text: str) -> set[str]:
    """The files of the repository that a page links to."""
    return {target_of(page, link[1]) for link in LINK.finditer(text)}


def target_of(page: str, path: str) -> str:
    """The file of the repository to which a relative path on a page leads."""
    return normpath(join(dirname(path_of(page)), path))


def source_page(path: str) -> str:
    """The page that shows a file of the repository."""
    return f'source/{path}.md'


def source(path: str) -> str:
    """The text of the page that shows a file of the repository."""
    language = LANGUAGES.get(os.path.splitext(path)[1], 'text')
    text = (ROOT / path).read_text().rstrip('\n')
    return f'---\nsearch: {{exclude: true}}\nhide: [toc]\n---\n# {path}\n\n````{language}\n{text}\n````\n'


def programs() -> str:
    """The page of programs, made of their docstrings."""
    text = '# Programs\n\nEach program says with `--help` what its arguments are. `tools/` has the same as scripts.\n'
    names = value_of(ast.parse((ROOT / 'mmhybrid/__main__.py').read_text()), 'SHORT')
    for path in sorted((ROOT / 'mmhybrid/commands').glob('[!_]*.py')):
        first, *paragraphs = docstring_of(path).split('\n\n')
        name = names.get(path.stem, path.stem.replace('_', '-'))
        text += f'\n## mmhybrid {name}\n\n{first}\n'
        for paragraph in paragraphs:
            is_usage = paragraph.lstrip().startswith('mmhybrid ')
            text += f'\n```text\n{dedented(paragraph)}\n```\n' if is_usage else f'\n{paragraph}\n'
    return text


def dedented(paragraph: str) -> str:
    """The lines of a paragraph without the indentation of the first."""
    indentation = len(paragraph) - len(paragraph.lstrip())
    return '\n'.join(line[indentation:] for line in paragraph.splitlines())


def api_pages() -> dict[str, str]:
    """The pages of the Python API.

    Raises:
        PluginError: If a registry has a class that is on none of them.
    """
    registered = registered_classes()
    stated = {key: [name for module in page.modules for name in public_names(module)] for key, page in API.items()}
    shown = {name.home for names in stated.values() for name in names}
    pages = {}
    for key, page in API.items():
        more = [home for registry in page.registries for home in registered.get(registry, ()) if home not in shown]
        shown |= {*more}
        blocks = ''.join(f'\n::: {name}\n' for name in [*(name.path for name in stated[key]), *more])
        pages[f'reference/{key}.md'] = f'# {page.title}\n{blocks}'
    missing = {home for homes in registered.values() for home in homes} - shown
    if missing:
        raise PluginError(f'on no page of the API reference: {sorted(missing)}')
    return pages


def public_names(module: str) -> list[PublicName]:
    """The public names of a package or module of mmhybrid.

    Raises:
        PluginError: If it has none.
    """
    path = ROOT / 'mmhybrid' / module.replace('.', '/')
    tree = ast.parse((path / '__init__.py' if path.is_dir() else path.with_suffix('.py')).read_text())
    module = f'mmhybrid.{module}'
    modules = value_of(tree, '_MODULES')
    if modules is not None:  # its names are imported lazily
        homes = {name: f'{module}.{home}' for home, names in modules.items() for name in names}
    elif path.is_dir():
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        imported = {alias.name: node.module for node in imports for alias in node.names}
        homes = {name: f'{imported[name]}' for name in value_of(tree, '__all__') or ()}
    else:
        homes = {name: module for name in chain.from_iterable(map(names_defined, tree.body)) if name[0] != '_'}
    if not homes:
        raise PluginError(f'{module} has nothing public')
    return [PublicName(f'{module}.{name}', f'{home}.{name}') for name, home in homes.items()]


def names_defined(node: ast.stmt) -> list[str]:
    """The class, function, registry or table that a statement of a module defines."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call()) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def registered_classes() -> dict[str, list[str]]:
    """The classes and functions in each registry, by the dotted names where they are defined."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / 'mmhybrid').rglob('*.py')):
        module = '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                for registry in registries_of(node.decorator_list):
                    found.setdefault(registry, []).append(f'{module}.{node.name}')
    return found


def registries_of(decorators: Sequence[ast.expr]) -> Iterator[str]:
    """The registries that decorators enter a class into."""
    for decorator in decorators:
        match decorator.func if isinstance(decorator, ast.Call) else decorator:
            case ast.Attribute(value=ast.Name(id=registry), attr='register_module'):
                yield registry


def value_of(module: ast.Module, name: str) -> Any:
    """The literal value that a module assigns to a name; None if there is none."""
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return None


def docstring_of(path: Path) -> str:
    """The docstring of a module."""
    return ast.get_docstring(ast.parse(path.read_text())) or ''
