"""The latency model of a search, from the files that ``tools/profile_latency.py`` wrote."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from mmhybrid.counting.estimator import Estimator, LatencyModel
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import AnalyticLatency
from mmhybrid.latency.filled import FilledTable, OperationsModel
from mmhybrid.latency.fitted import FittedLatency
from mmhybrid.latency.table import LatencyTable
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import read_json

# Of models, by a field that their files alone have.
MODELS: dict[str, type[OperationsModel]] = {'rates': AnalyticLatency, 'prices_ms': FittedLatency}


def load_latency(path: str | Path) -> LatencyTable | OperationsModel:
    """A latency table, an analytic model or a fitted one, whichever the file holds.

    Raises:
        ValueError: If there is no such file, or saying what is wrong with it.
    """
    raw = read_json(path)
    fields = raw if isinstance(raw, Mapping) else ()
    return next((kind for field, kind in MODELS.items() if field in fields), LatencyTable).load(path)


def build_estimator(workload: Workload, path: str | Path | None, analytic: str | Path | None = None) -> Estimator:
    """What the networks of a search cost; warns if latencies were measured on another machine, or are filled in.

    Args:
        workload: The networks.
        path: Of a latency table, or of an analytic model, which serves every space; None for no latencies.
        analytic: Path of an analytic model that answers for the parts which the table lacks; None for an error.

    Raises:
        ValueError: If a file is wrong or of the other kind, the table is of another space or setting, or the two are
            for different devices, dtypes, threads or numbers of images at once.
    """
    if path is None:
        if analytic is not None:
            raise bad_value('analytic', f'{analytic}', 'what fills a latency_table; alone it is a latency_table itself')
        return Estimator(workload)
    loaded = load_latency(path)
    loaded.warn_if_elsewhere()
    latency: LatencyModel = loaded
    if isinstance(loaded, LatencyTable):
        if analytic is None:
            loaded.check_fits(workload)
        else:
            loaded.check_setting(workload)
            latency = fill(loaded, f'{path}', analytic, workload)
    elif analytic is not None:
        raise bad_value('analytic', f'{analytic}', f'none, since {path} is an analytic model itself')
    return Estimator(workload, latency)


def workload_for(table: LatencyTable, cfg: Config | None) -> Workload:
    """The networks of a table; of whole models a config has to tell what is around the backbones.

    Args:
        table: The table.
        cfg: With the model that the table was measured for; it is read only where the table is of whole models.

    Raises:
        ValueError: If there is no config where one is needed, or the table is of another model.
    """
    if table.workload.around is None or cfg is None:
        return table.build_workload()
    workload = Workload.of_model(cfg.get('model', {}), table.workload.input_size, cfg.get('default_scope'))
    table.check_setting(workload)
    return workload


def fill(table: LatencyTable, path: str, analytic: str | Path, workload: Workload) -> FilledTable:
    """The table of ``path`` with the model of ``analytic`` for the parts it lacks, of which it warns."""
    model = load_model_of(table, path, analytic)
    filled = FilledTable(table, model, workload)
    filled.warn_of_gaps()
    return filled


def load_model_of(table: LatencyTable, path: str, analytic: str | Path) -> OperationsModel:
    """An analytic model, or a fitted one, to be used beside a table; warns if it was measured on another machine.

    Args:
        table: The table.
        path: Of the table.
        analytic: Path of the model.

    Raises:
        ValueError: If the file is wrong, or for another device, dtype, threads or number of images at once.
    """
    model = load_latency(analytic)
    if isinstance(model, LatencyTable):
        raise bad_value('analytic', f'{analytic}', 'an analytic or fitted model; this is a latency table')
    if model.batch != table.device.batch:
        raise bad_value(f'{analytic}: batch', model.batch, f'that of {path}, {table.device.batch}')
    if model.device is not None:
        for name in ('device', 'dtype', 'threads', *(('backend',) if isinstance(model, FittedLatency) else ())):
            there, here = getattr(table.device, name), getattr(model.device, name)
            if here != there:
                raise bad_value(f'{analytic}: device.{name}', here, f'that of {path}, {there!r}')
    model.warn_if_elsewhere()
    return model
