"""Functions that export all networks on the Pareto front of a search, with a table of them."""

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
    """A network of a search that was exported to files of its own.

    Args:
        name: Name of its folder and of its files.
        candidate: Candidate of the search, with its scores and costs.
        network: The network, independent of the supernet.
        paths: Paths of its files.
        measured: Its measured latency; None if it was not measured.
    """

    name: str
    candidate: Candidate
    network: Standalone
    paths: Sequence[Path]
    measured: Timed | None


def found_by(candidate: Candidate, result: SearchResult) -> Found:
    """Return a candidate of a search in the form of a network that was read from a file."""
    latency = candidate.estimates.get('latency_ms')
    return Found(candidate.arch, dict(candidate.metrics or {}), result.settings.space.to_config(), latency)


def export_beside(folder: Path, name: str, file_format: str) -> Path:
    """Export a network that :func:`write_network` wrote to another format too, and return the file."""
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
    """Export every network of a search's front, in the order of its scores, and write ``front.csv`` at the end.

    The folder of each network is named after its genes, so a continued search adds to the folders there.

    Args:
        model: Supernet from :func:`mmhybrid.apis.taking_out.build_supernet`.
        cfg: Config of the supernet.
        result: Result of the search; its front is that of :attr:`SearchResult.trade_off`.
        folder: Folder of the networks; it is created if it does not exist.
        into: Configs to put each backbone into, see :func:`write_host_config`.
        table: Latency table, whose device and settings are used to measure each network; None to measure none.
        repeats: Number of timed rounds of a measurement.
        file_format: Format to which each network is exported beside its config, see :func:`export_config`; None for
            none.

    Raises:
        ValueError: If a network is not in the space of ``model``, or as :func:`take_out` and the functions that write.
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
