"""Prints a table of docs/spaces.md: sizes of the networks that shipped supernets train, and the share in search bounds.

    python docs/generate/spaces_table.py

It takes a minute.
"""

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload, num_classes_of
from mmhybrid.models.mutators import Mutator
from mmhybrid.registry import MUTATORS, SEARCH_SPACES
from mmhybrid.search import Constraint
from mmhybrid.search.config import read_constraints
from mmhybrid.space import SearchSpace

# isort: split
import numpy as np
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = 1000
INPUT_SIZE = 224  # pixels, if neither archs nor search give it; parameters do not depend on it
COUNTED = {'params_m': 'parameters', 'macs_m': 'MACs'}  # bounds on latency depend on a device and are left out
# Spaces that a config has as an option.
OPTIONS = {
    'search_autovit_union_in1k.py': {'model.architecture.backbone.space.table': 'union-free'},
}
_COLUMNS = ('config', 'mutator', 'parameters: lower quartile, median, upper quartile', 'searched range', 'share inside')


@dataclass(frozen=True)
class Supernet:
    """A supernet's space and the mutator that draws networks from it.

    Args:
        path: Path of the config, relative to the folder that has ``configs``.
        option: Option set on top of the config; empty for none.
        space: Space of the networks.
        mutator: Mutator that draws them in training.
        constraints: Bounds of the config's search on parameters and multiply-accumulates; empty without a search.
        estimator: Estimator that counts a network.
    """

    path: Path
    option: str
    space: SearchSpace
    mutator: Mutator
    constraints: tuple[Constraint, ...]
    estimator: Estimator


@dataclass(frozen=True)
class Drawn:
    """The networks of the first steps of a training.

    Args:
        params_m: Quartiles of their parameters in millions.
        inside: Share of them within the bounds of the search; None without bounds.
    """

    params_m: tuple[float, float, float]
    inside: float | None


def draw(supernet: Supernet, num_steps: int = NUM_STEPS) -> Drawn:
    """Count the networks that the first ``num_steps`` steps train."""
    archs = [arch for step in range(num_steps) for arch in supernet.mutator.archs(supernet.space, step)]
    costs = [vars(supernet.estimator(arch)) for arch in archs]
    low, median, high = np.percentile([cost['params_m'] for cost in costs], [25, 50, 75]).tolist()
    kept = [not any(bound.violations(cost) for bound in supernet.constraints) for cost in costs]
    return Drawn((low, median, high), sum(kept) / len(kept) if supernet.constraints else None)


def shipped_supernets(root: Path) -> list[Supernet]:
    """One supernet for each space, mutator and bounds among the configs under ``root``, of a search if there is one."""
    paths = [path.relative_to(root) for path in (root / 'configs').rglob('*.py') if '_base_' not in path.parts]
    paths.sort(key=lambda path: ('search' not in path.stem, len(path.stem), path))
    chosen: list[Supernet] = []
    for path in paths:
        for options in ({}, OPTIONS.get(path.name)):
            if options is None or not {'search', 'supernet'} & set(path.stem.split('_')):
                continue
            cfg = Config.fromfile(root / path)
            cfg.merge_from_dict(options)
            found = read_supernet(path, ', '.join(f'`{key}={value}`' for key, value in options.items()), cfg)
            if not any(_is_covered(found, other) for other in chosen):
                chosen.append(found)
    return sorted(chosen, key=lambda supernet: (supernet.path.parent, supernet.path.stem, supernet.option))


def draws_markdown(supernets: Iterable[Supernet], num_steps: int = NUM_STEPS) -> str:
    """The table of docs/spaces.md in Markdown."""
    lines = [_COLUMNS, ('---',) * len(_COLUMNS), *(_row(supernet, num_steps) for supernet in supernets)]
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def read_supernet(path: Path, option: str, cfg: Config) -> Supernet:
    """Read the supernet of the config ``cfg`` of a supernet or of a search."""
    backbone, search = cfg.model.architecture.backbone, cfg.get('search_cfg') or {}
    space: SearchSpace = SEARCH_SPACES.build(backbone.space)
    side = None if 'resolution' in space.choices else search.get('input_size', INPUT_SIZE)
    bounds = tuple(bound for bound in read_constraints(search.get('constraints') or {}) if bound.name in COUNTED)
    estimator = Estimator(Workload(space, backbone.backbone, side, num_classes_of(cfg.model)))
    return Supernet(path, option, space, MUTATORS.build(dict(cfg.model.mutator)), bounds, estimator)


def _is_covered(new: Supernet, old: Supernet) -> bool:
    same: tuple[Any, ...] = (new.space.to_config(), vars(new.mutator), type(new.mutator))
    return same == (old.space.to_config(), vars(old.mutator), type(old.mutator)) and (
        not new.constraints or new.constraints == old.constraints
    )


def _row(supernet: Supernet, num_steps: int) -> Iterator[str]:
    drawn = draw(supernet, num_steps)
    name = f'[{supernet.path.stem}](../{supernet.path.as_posix()})'
    yield name if not supernet.option else f'{name} with {supernet.option}'
    yield f'`{type(supernet.mutator).__name__}`'
    yield f'{", ".join(f"{value:.2f}" for value in drawn.params_m)} M'
    yield ', '.join(map(_range, supernet.constraints)) or '-'
    yield '-' if drawn.inside is None else f'{100 * drawn.inside:.1f} %'


def _range(bound: Constraint) -> str:
    start = '' if bound.min is None else f'from {bound.min:g} M '
    end = '' if bound.max is None else f'up to {bound.max:g} M '
    return f'{start}{end}{COUNTED[bound.name]}'


if __name__ == '__main__':
    ArgumentParser(description=(__doc__ or '').splitlines()[0]).parse_args()
    print(draws_markdown(shipped_supernets(ROOT)))
