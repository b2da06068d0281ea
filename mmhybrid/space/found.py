"""The reader of the files in which a search leaves an architecture, with its search space and scores."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmhybrid.space.arch import Arch
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import read_json

LONGEST_METRIC = 200
BEST_FILE = 'best_arch.json'


@dataclass(frozen=True)
class Found:
    """A network that a search found.

    Args:
        arch: The architecture.
        metrics: Scores by name; empty if they are unknown.
        space: Config of the search space; None if the file does not name it.
        latency_ms: Latency in milliseconds that the search estimated; None if the file does not name it.
    """

    arch: Arch
    metrics: Mapping[str, float]
    space: Mapping[str, Any] | None = None
    latency_ms: float | None = None


def read_found(source: str | Path) -> Found:
    """Read a network from a file that a search or a retraining wrote.

    Args:
        source: Path of a ``best_arch.json``, of a ``best_retrained.json`` or of a JSON object of genes, or
            ``topk.csv:RANK``. Rank 1 is the best network and the default. The space of a table is the one in the
            ``best_arch.json`` beside it.

    Raises:
        ValueError: If the file does not exist or is not valid. The message names the file and what is wrong with it.
    """
    path, _, rank = str(source).rpartition('.csv:')
    if path or str(source).endswith('.csv'):
        return _from_table(Path(f'{path}.csv' if path else source), rank if path else '1')
    content = read_json(source)
    if 'arch' not in content:
        return Found(_arch(source, content), {})
    space = content.get('space')
    if space is not None and not isinstance(space, Mapping):
        raise bad_value(f'{source}: space', space, 'an object, the config of a space')
    metrics = content.get('metrics', {})
    if 'retrained_score' in content:
        metrics = {content.get('metric', 'retrained_score'): content['retrained_score']}
    if not isinstance(metrics, Mapping) or not all(isinstance(value, int | float) for value in metrics.values()):
        raise bad_value(f'{source}: metrics', metrics, 'an object of names and numbers')
    for name in metrics:
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_METRIC:
            raise bad_value(f'{source}: metric', name, f'1 to {LONGEST_METRIC} printable characters')
    estimates = content.get('estimates')
    latency = estimates.get('latency_ms') if isinstance(estimates, Mapping) else None
    known = float(latency) if isinstance(latency, int | float) and not isinstance(latency, bool) else None
    return Found(_arch(source, content['arch']), metrics, space, known)


def _from_table(path: Path, rank: str) -> Found:
    if not path.is_file():
        raise ValueError(f'{path} does not exist')
    try:
        # A reader by names would give each row as many entries as the first row has.
        head, *rows = csv.reader(io.StringIO(path.read_text()))
        ranks, archs = head.index('rank'), head.index('arch')
    except (ValueError, csv.Error) as error:
        raise ValueError(f'{path}: not a topk.csv of a search ({error})') from error
    genes = {row[ranks]: row[archs] for row in rows if len(row) > max(ranks, archs)}
    if rank not in genes:
        raise bad_value(f'{path}: rank', rank, f'one of {list(genes)}')
    try:
        arch = Arch.from_json(genes[rank])
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    beside = path.with_name(BEST_FILE)
    return Found(arch, {}, read_found(beside).space if beside.is_file() else None)


def _arch(source: str | Path, genes: Any) -> Arch:
    try:
        return Arch(genes)
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error
