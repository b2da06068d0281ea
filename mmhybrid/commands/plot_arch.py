"""Draw an architecture: a bar for each block, with local and global mixing in two colours and the sizes below.

    mmhybrid plot-arch work_dirs/autovit_search/best_arch.json --out arch.svg
    mmhybrid plot-arch work_dirs/autovit_search/topk.csv:2 --out second.svg
    mmhybrid plot-arch --preset glnet-4g --out glnet_4g.png

The file is the ``best_arch.json`` of a search, a row of the ``topk.csv`` beside it (``topk.csv:RANK``), or the
``best_retrained.json`` of a retraining.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmhybrid.archs.base import Diagram
from mmhybrid.commands.shared.arguments import add_imports, import_modules
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.models.families import preset_arch
from mmhybrid.registry import SEARCH_SPACES, build_from_data
from mmhybrid.space.found import read_found
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import write_whole
from mmhybrid.visualization.arch_drawing import arch_diagram, draw

SUFFIXES = ('.svg', '.png')


def preset_diagram(name: str) -> Diagram:
    """Return the diagram of a published network."""
    drawn = preset_arch(name, '--preset').diagram()
    return replace(drawn, title=f'{name}: {drawn.title}')


def file_diagram(path: str) -> Diagram:
    """Return the diagram of the network in a file."""
    found = read_found(path)
    if found.space is None:
        raise ValueError(f'{path}: missing space, which best_arch.json and best_retrained.json name')
    return arch_diagram(build_from_data(SEARCH_SPACES, f'{path}: space', found.space), found.arch)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the architecture and write the picture."""
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument('arch', nargs='?', help='file with an architecture')
    network.add_argument('--preset', metavar='NAME', help='a published network, such as glnet-4g')
    parser.add_argument('--out', required=True, metavar='FILE', help='the picture to write, .svg or .png')
    add_imports(parser)
    args = parser.parse_args(argv)
    with ending_on_mistakes():
        import_modules(args.imports)
        suffix = Path(args.out).suffix
        if suffix not in SUFFIXES:
            raise bad_value('--out', args.out, f'a name that ends in {" or ".join(SUFFIXES)}')
        picture = draw(preset_diagram(args.preset) if args.preset else file_diagram(args.arch))
        write_whole(args.out, picture.svg_file() if suffix == '.svg' else picture.png_file())
    print(f'written: {args.out}')
