"""``mmhybrid COMMAND``, or ``python -m mmhybrid COMMAND``: the programs of :mod:`mmhybrid.commands`, in any folder."""

import ast
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from mmhybrid.utils.optional import MissingPackageError
from mmhybrid.version import __version__

FOLDER = Path(__file__).parent / 'commands'
SHORT = {'search_report': 'report'}
# Commands by name, which is that of their module but for those with a shorter one.
COMMANDS = {
    SHORT.get(path.stem, path.stem.replace('_', '-')): path.stem
    for path in sorted(FOLDER.glob('*.py'))
    if path.stem != '__init__'
}


def summaries() -> str:
    """A line for each command; none of them is imported, which would take seconds."""
    lines = []
    for name, module in COMMANDS.items():
        docstring = ast.get_docstring(ast.parse((FOLDER / f'{module}.py').read_text())) or ''
        lines.append(f'  {name:20}{docstring.splitlines()[0]}')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name, by default those of the process."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = ArgumentParser(
        prog='mmhybrid',
        usage='mmhybrid COMMAND ..., mmhybrid COMMAND --help',
        description='Hybrid backbones and their architecture search for OpenMMLab.',
        epilog=f'commands:\n{summaries()}\n\nA shipped config is named as in mmhybrid::glnet/glnet_4g_in1k.py.',
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmhybrid {__version__}')
    parser.add_argument('command', choices=tuple(COMMANDS), metavar='COMMAND', help='one of those below')
    command = parser.parse_args(words[:1]).command  # the other words are the command's own
    sys.argv = [f'mmhybrid {command}', *words[1:]]
    try:
        program = import_module(f'mmhybrid.commands.{COMMANDS[command]}')
    except MissingPackageError as error:
        parser.exit(2, f'mmhybrid {command}: {error}\n')
    import_module('mmhybrid.engine.ranks').run(program.main)


if __name__ == '__main__':
    main()
