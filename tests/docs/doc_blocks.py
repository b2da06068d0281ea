"""Code blocks and commands of Markdown documents, every one of them classified."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ['README.md', 'CONTRIBUTING.md', *sorted(f'docs/{path.name}' for path in (ROOT / 'docs').glob('*.md'))]
PROGRAMS = ('.', 'awk', 'bash', 'make', 'mmhybrid', 'optuna-dashboard', 'pip', 'python')
LANGUAGES = {'python': 'python', 'bash': 'shell', 'shell': 'shell', 'sh': 'shell', 'text': 'text', 'mermaid': 'text'}
# Blocks without a language that are not commands, by how they begin.
TEXTS = {'docs/architecture.md': ('search space -> ',), 'docs/search.md': ("stage 'fine', generation 0: ",)}
ASSIGNMENT = re.compile(r'([A-Za-z_]\w*)=(.*)', re.DOTALL)
OUTPUT = re.compile(r'([A-Za-z_]\w*)=\$\((.*)\)\s*(?:#.*)?')
VARIABLE = re.compile(r'\$([A-Za-z_]\w*)')


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        document: Its name, as in :data:`DOCUMENTS`.
        line: Of its first line, from 1.
        kind: ``python``, ``shell`` or ``text``.
        text: Without fences and indentation.
    """

    document: str
    line: int
    kind: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command, its variables replaced.

    Args:
        document: Its name.
        line: Where it is, from 1.
        words: Program and arguments.
        environment: What is set in front of it.
        pipe: What reads its output, program and arguments.
        variable: What its output becomes the value of.
    """

    document: str
    line: int
    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    pipe: tuple[str, ...] = ()
    variable: str | None = None

    @property
    def python_path(self) -> list[str]:
        """The folders that ``PYTHONPATH`` in front of it names."""
        folders = dict(self.environment).get('PYTHONPATH', '').split(':')
        return [str(ROOT / folder) for folder in folders if folder]

    def __str__(self) -> str:
        return f'{self.document}:{self.line}: {shlex.join(self.words)}'


def blocks_of(document: str, text: str | None = None) -> list[Block]:
    """The fenced and the indented blocks of a document.

    Raises:
        ValueError: For a block that is none of the kinds, or a fence that does not end.
    """
    return [block for block, _ in _split(document, text) if block is not None]


def commands_of(document: str, text: str | None = None) -> list[Command]:
    """The commands of all shell blocks, and those in backticks, in the order in which they come.

    Raises:
        ValueError: For a line of a shell block that starts with none of :data:`PROGRAMS`, or names a variable that the
            block did not set.
    """
    commands: list[Command] = []
    for block, prose in _split(document, text):
        if block is not None and block.kind == 'shell':
            commands += _of_shell(block)
        for line, span in prose:
            words = _words(span)
            program = next((word for word in words if not ASSIGNMENT.fullmatch(word)), None)
            if program in PROGRAMS[1:] and len(words) > 1:
                commands += _of_shell(Block(document, line, 'shell', span))
    return commands


def spans_of(document: str, text: str | None = None) -> list[tuple[int, str]]:
    """What stands in backticks outside the blocks, with its line."""
    return [span for _, prose in _split(document, text) for span in prose]


def _split(document: str, text: str | None) -> Iterator[tuple[Block | None, list[tuple[int, str]]]]:
    """Blocks and the backticks of the prose between them, in order."""
    lines = ((ROOT / document).read_text() if text is None else text).splitlines()
    prose: list[tuple[int, str]] = []
    i = 0
    while i < len(lines):
        start = i
        fence = re.match(r'\s*(```+)\s*(\w*)', lines[i])
        if fence is not None:
            i += 1
            while i < len(lines) and lines[i].strip() != fence[1]:
                i += 1
            if i == len(lines):
                raise ValueError(f'{document}:{start + 1}: the block does not end')
            content = _dedented(lines[start + 1 : i])
            i += 1
            language = fence[2] or None
        elif lines[i].startswith('    ') and (i == 0 or not lines[i - 1].strip()):
            while i < len(lines) and (lines[i].startswith('    ') or not lines[i].strip()):
                i += 1
            content, language = _dedented(lines[start:i]), None
        else:
            prose.append((start + 1, lines[i]))
            i += 1
            continue
        yield None, _backticks(prose)
        prose = []
        line = start + 1 if fence is None else start + 2
        yield Block(document, line, _kind(document, line, language, content), content), []
    yield None, _backticks(prose)


def _kind(document: str, line: int, language: str | None, content: str) -> str:
    if language is not None:
        if language not in LANGUAGES:
            raise ValueError(f'{document}:{line}: a block of {language}, allowed: one of {list(LANGUAGES)}')
        return LANGUAGES[language]
    if content.startswith(TEXTS.get(document, ())):
        return 'text'
    first = next((words for words in map(_words, content.splitlines()) if words), [''])
    if first[0] in (*PROGRAMS, 'export') or ASSIGNMENT.fullmatch(first[0]):
        return 'shell'
    raise ValueError(f'{document}:{line}: neither a command nor listed as a text: {content.splitlines()[0]!r}')


def _of_shell(block: Block) -> Iterator[Command]:
    variables: dict[str, str] = {}
    exported: dict[str, str] = {}
    read: set[str] = set()
    number, joined = block.line, ''
    for offset, line in enumerate(block.text.splitlines()):
        number = number if joined else block.line + offset
        joined += line.removesuffix('\\')
        if line.endswith('\\'):
            continue
        joined = _replaced(joined, variables)
        where = f'{block.document}:{number}'
        output = OUTPUT.fullmatch(joined)
        words = _words(joined if output is None else output[2])
        joined = ''
        environment = {}
        exports = words[:1] == ['export']
        words = words[exports:]
        while words and (found := ASSIGNMENT.fullmatch(words[0])):
            environment[found[1]] = found[2]
            words = words[1:]
        exported |= environment if exports else {}
        if words and words[0] not in PROGRAMS:
            raise ValueError(f'{where}: {words[0]!r} starts a command, allowed: one of {PROGRAMS}')
        if unknown := [name for word in words for name in VARIABLE.findall(word) if name not in read]:
            raise ValueError(f'{where}: nothing above sets {unknown[0]}')
        if words:
            at = words.index('|') if '|' in words else len(words)
            variable = None if output is None else output[1]
            setting = tuple({**exported, **environment}.items())
            yield Command(block.document, number, tuple(words[:at]), setting, tuple(words[at + 1 :]), variable)
            read |= {variable} if variable else set()
        else:
            variables |= environment


def _replaced(line: str, variables: dict[str, str]) -> str:
    return VARIABLE.sub(lambda name: variables.get(name[1], name[0]), line)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an apostrophe in prose
        return line.split()


def _dedented(lines: list[str]) -> str:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return '\n'.join(line[margin:] for line in lines).strip('\n')


def _backticks(prose: list[tuple[int, str]]) -> list[tuple[int, str]]:
    text = '\n'.join(line for _, line in prose)
    found = []
    for span in re.finditer(r'(?<!`)`([^`]+)`(?!`)', text):
        found.append((prose[text.count('\n', 0, span.start())][0], ' '.join(span[1].split())))
    return found
