"""Networks of a search's front, each taken out of the supernet, and a table of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.exporting import export_config, exported_file
from mmhybrid.apis.host_configs import write_host_config
from mmhybrid.apis.network_files import name_of, write_network
from mmhybrid.apis.taking_out import Standalone, arch_in, take_out
from mmhybrid.latency.load import workload_for
from mmhybrid.latency.single import Timed, time_arch
from mmhybrid.latency.table import LatencyTable
from mmhybrid.models.one_shot import OneShot
from mmhybrid.search import Candidate, SearchResult
from mmhybrid.search.result import table_of
from mmhybrid.space.found import Found
from mmhybrid.utils.files import check_stays_within, drop_link_outward, write_whole

FRONT_FILE = 'front.csv'


@dataclass(frozen=True)
class Exported:
    """A network of a search with files of its own.

    Args:
        name: Of its folder and of its files.
        candidate: What the search knows of it.
        network: Without its weights' supernet.
        paths: Of its files.
        measured: What it took; None where that was not asked for.
    """

    name: str
    candidate: Candidate
    network: Standalone
    paths: Sequence[Path]
    measured: Timed | None


def found_by(candidate: Candidate, result: SearchResult) -> Found:
    """A network of a search as one that was read from its files."""
    latency = candidate.estimates.get('latency_ms')
    return Found(candidate.arch, dict(candidate.metrics or {}), result.settings.space.to_config(), latency)


def export_beside(folder: Path, name: str, file_format: str) -> Path:
    """Write what :func:`write_network` has written in another format too, and return the file."""
    config, weights = folder / f'{name}.py', folder / f'{name}.pth'
    path = exported_file(config, file_format)
    drop_link_outward(path)
    export_config(load_config(str(config)), str(config), str(weights), path, file_format)
    return path


def export_front(
    model: OneShot,
    cfg: Config,
    result: SearchResult,
    folder: str | Path,
    into: Sequence[str] = (),
    table: LatencyTable | None = None,
    repeats: int = 20,
    file_format: str | None = None,
) -> Iterator[Exported]:
    """Take out every network of a search's front, in the order of its scores, and write ``front.csv`` in the end.

    Each network has a folder that is named after its genes, so that those of a search which goes on are written beside.

    Args:
        model: From :func:`mmhybrid.apis.taking_out.build_supernet`.
        cfg: Of the supernet.
        result: What was found; its front is that of :attr:`SearchResult.trade_off`.
        folder: Made if missing.
        into: Configs to put each backbone into, see :func:`write_host_config`.
        table: Latency table, as whose networks each is measured; None for no measurement.
        repeats: Timed rounds of a measurement.
        file_format: What each is exported to beside its config, see :func:`export_config`; None for nothing.

    Raises:
        ValueError: If a network is not in the space of ``model``, or as :func:`take_out` and the writers raise it.
        SearchError: If every evaluation failed.
    """
    front, folder = result.front(result.trade_off), Path(folder)
    archs = [arch_in(model.space, candidate.arch, 'the search') for candidate in front]
    workload = None if table is None else workload_for(table, cfg)
    rows: list[dict[str, object]] = []
    for arch in archs:
        check_stays_within(folder / name_of(arch), folder)
    for candidate, arch in zip(front, archs, strict=True):
        name = name_of(arch)
        network = take_out(model, cfg, arch)
        paths = write_network(network, cfg, folder / name, name, candidate.metrics or {})
        paths += [write_host_config(network, target, folder / name, name) for target in into]
        paths += [] if file_format is None else [export_beside(folder / name, name, file_format)]
        measured = None if table is None else time_arch(arch, table, repeats, workload)
        row: dict[str, object] = {'name': name, 'files': ' '.join(f'{path.relative_to(folder)}' for path in paths)}
        if measured is not None:
            row |= {'measured_ms': measured.ms, 'measured_spread_ms': measured.spread}
        rows.append(row)
        yield Exported(name, candidate, network, paths, measured)
    path = folder / FRONT_FILE
    drop_link_outward(path)
    write_whole(path, table_of(front, rows))
