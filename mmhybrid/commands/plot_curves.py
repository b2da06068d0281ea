"""Draw the training curves of runs side by side (AutoViT, figure 6).

    mmhybrid plot-curves WORK_DIR [WORK_DIR ...] --out curves.png [--keys loss accuracy/top1]

The picture has a panel for each key and a line for each run, over the epochs. Values that are logged more often are
averaged over an epoch. They come from the ``WORK_DIR/<time>/vis_data/scalars.json`` of MMEngine, those of resumed runs
included.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.utils.files import check_target, parse_json, read_text


def read_curve(work_dir: str, key: str) -> dict[int, float]:
    """Return the mean of a logged value in each epoch; raise ValueError if the run has not logged it."""
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise ValueError(f'{work_dir}: no */vis_data/scalars.json, which training writes')
    found: dict[int, list[float]] = {}
    names: set[str] = set()
    for file in files:
        of_file: dict[int, list[float]] = {}
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            try:
                entry = parse_json(line)
            except ValueError:
                raise ValueError(f'{file}: line {number} is not JSON') from None
            if not isinstance(entry, dict):
                raise ValueError(f'{file}: line {number} is not a JSON object')
            names |= set(entry)
            if key in entry:
                epoch = entry.get('epoch', entry.get('step'))
                if type(epoch) is not int or type(entry[key]) not in (int, float):
                    raise ValueError(f'{file}: line {number} has no numbers of {key!r} and of its epoch or step')
                of_file.setdefault(epoch, []).append(float(entry[key]))
        found |= of_file  # a resumed run replaces the epochs from where it resumed
    if not found:
        raise ValueError(f'--keys: {work_dir} has not logged {key!r}, but {", ".join(sorted(names))}')
    return {epoch: float(np.mean(values)) for epoch, values in sorted(found.items())}


def plain(name: str) -> str:
    """Escape a name for Matplotlib, which takes text between dollar signs as a formula."""
    return name.replace('$', r'\$')


def main(argv: Sequence[str] | None = None) -> None:
    """Read the logs and draw."""
    parser = ArgumentParser(description='Draw the training curves of runs side by side.')
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='work directory of a training')
    parser.add_argument('--out', required=True, metavar='FILE', help='a picture, such as curves.png')
    parser.add_argument(
        '--keys', nargs='+', default=['loss', 'accuracy/top1'], help='values to draw; default: loss accuracy/top1'
    )
    args = parser.parse_args(argv)
    with ending_on_mistakes(), rc_context({'text.usetex': False}):  # LaTeX would run names as programs
        check_target(args.out)
        figure = Figure(figsize=(5 * len(args.keys), 4), layout='constrained')
        panels = figure.subplots(1, len(args.keys), squeeze=False)[0]
        for panel, key in zip(panels, args.keys, strict=True):
            for work_dir in args.work_dirs:
                curve = read_curve(work_dir, key)
                panel.plot(list(curve), list(curve.values()), marker='.', label=plain(Path(work_dir).name))
            panel.set(xlabel='epoch', ylabel=plain(key))
            panel.grid(alpha=0.3)
        panels[0].legend()
        figure.savefig(args.out)
    print(f'written: {args.out}')
