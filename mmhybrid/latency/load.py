"""The latency model of a search, loaded from files that ``tools/profile_latency.py`` wrote."""

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

# Classes of models, by a field that only their files have.
MODELS: dict[str, type[OperationsModel]] = {'rates': AnalyticLatency, 'prices_ms': FittedLatency}


def load_latency(path: str | Path) -> LatencyTable | OperationsModel:
    """Load a latency table, an analytic model or a fitted model, whichever the file holds.

    Raises:
        ValueError: If the file does not exist or is not valid.
    """
    raw = read_json(path)
    fields = raw if isinstance(raw, Mapping) else ()
    return next((kind for field, kind in MODELS.items() if field in fields), LatencyTable).load(path)


def build_estimator(workload: Workload, path: str | Path | None, analytic: str | Path | None = None) -> Estimator:
    """Build the estimator of a search's costs; warn if latencies were measured on another machine or are filled in.

    Args:
        workload: The networks.
        path: Path of a latency table, or of an analytic or fitted model, which serves every space; None for no
            latencies.
        analytic: Path of an analytic or fitted model for the parts that the table lacks; None to raise an error
            instead.

    Raises:
        ValueError: If a file is not valid or of the other kind, if the table is of another space or setting, or if
            table and model are for different devices, dtypes, numbers of threads or batch sizes.
    """
    if path is None:
        if analytic is not None:
            raise bad_value('analytic', f'{analytic}', 'none without a latency_table; alone, it is the latency_table')
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
    """Return the networks of a table; for whole models, a config must give what surrounds the backbone.

    Args:
        table: The table.
        cfg: Config with the model that the table was measured for; it is read only if the table is of whole models.

    Raises:
        ValueError: If the table is of another model, or a config is needed and missing.
    """
    if table.workload.around is None or cfg is None:
        return table.build_workload()
    workload = Workload.of_model(cfg.get('model', {}), table.workload.input_size, cfg.get('default_scope'))
    table.check_setting(workload)
    return workload


def fill(table: LatencyTable, path: str, analytic: str | Path, workload: Workload) -> FilledTable:
    """Return the table of ``path`` with the model of ``analytic`` for the parts it lacks, and warn of these parts."""
    model = load_model_of(table, path, analytic)
    filled = FilledTable(table, model, workload)
    filled.warn_of_gaps()
    return filled


def load_model_of(table: LatencyTable, path: str, analytic: str | Path) -> OperationsModel:
    """Load an analytic or fitted model to use beside a table; warn if it was measured on another machine.

    Args:
        table: The table.
        path: Path of the table.
        analytic: Path of the model.

    Raises:
        ValueError: If the file is not valid, or for another device, dtype, number of threads or batch size. A fitted
            model must be for the same backend too.
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
