"""The latency model of a search, from the files that ``tools/profile_latency.py`` wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmhybrid.estimation.analytic import AnalyticLatency
from mmhybrid.estimation.latency_table import LatencyTable
from mmhybrid.space import SearchSpace
from mmhybrid.utils.checks import bad_value
from mmhybrid.utils.files import read_json


def load_latency(path: str | Path) -> LatencyTable | AnalyticLatency:
    """A latency table or an analytic model, whichever the file holds.

    Raises:
        ValueError: If there is no such file, or saying what is wrong with it.
    """
    kind = AnalyticLatency if 'rates' in read_json(path) else LatencyTable
    return kind.load(path)


def build_latency(
    path: str | Path,
    analytic: str | Path | None,
    space: SearchSpace,
    backbone: Mapping[str, Any],
    input_size: int | None,
    num_classes: int | None,
) -> LatencyTable | AnalyticLatency:
    """What :class:`Estimator` takes as ``latency``; warns if a table was measured on another machine.

    Args:
        path: Of a table, or of an analytic model, which serves every space.
        analytic: Path of an analytic model that answers for the parts which the table lacks; None for an error.
        space: Of the search.
        backbone: Config of the backbone.
        input_size: Side of the image where the archs do not say it.
        num_classes: Classes of the classifier, None for none.

    Raises:
        ValueError: If a file is wrong or of the other kind, the table is of another space or setting, or the two are
            for different numbers of images at once.
    """
    latency = load_latency(path)
    fallback = None if analytic is None else AnalyticLatency.load(analytic)
    if isinstance(latency, AnalyticLatency):
        if fallback is not None:
            raise bad_value('analytic', f'{analytic}', f'none, since {path} is an analytic model itself')
        return latency
    if fallback is not None:
        if fallback.batch != latency.device.batch:
            raise bad_value(f'{analytic}: batch', fallback.batch, f'that of {path}, {latency.device.batch}')
        latency = latency.with_fallback(fallback)
    latency.check_fits(space, backbone, input_size=input_size, num_classes=num_classes)
    latency.warn_if_elsewhere()
    return latency
