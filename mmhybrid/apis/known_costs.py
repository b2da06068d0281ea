"""Further networks that reports show: the one that the supernet started as, and the presets of its family."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.load import build_estimator
from mmhybrid.models.families import FAMILIES
from mmhybrid.search import SearchResult
from mmhybrid.search.result import KnownNetwork
from mmhybrid.space import SearchSpace
from mmhybrid.space.around import read_network
from mmhybrid.utils.checks import bad_value

START = 'starting network'


def known_networks_of(result: SearchResult, cfg: Config | None = None) -> list[KnownNetwork]:
    """Return the starting network and the presets, as far as scores or costs of them are known.

    Networks that the search evaluated have its numbers. ``cfg`` gives the starting network, and the costs of all
    others: parameters and MACs, and the latency if the table of the search has all of their parts.

    Args:
        result: Result of the search.
        cfg: Config of the search; None for those presets only that the search evaluated.

    Raises:
        ValueError: If ``cfg`` has another space than the search, or its latency table is wrong.
    """
    space = result.settings.space
    evaluated = {candidate.arch: candidate for candidate in result.evaluated}
    estimators = [] if cfg is None else _estimators(cfg, space)
    found = []
    for name, network in _networks(space, cfg).items():
        try:
            candidate = evaluated.get(space.encode(network))
        except ValueError:  # the network is not in the space
            candidate = None
        numbers = _costs(estimators, network) if candidate is None else candidate.numbers
        if numbers:
            found.append(KnownNetwork(name, numbers))
    return found


def _networks(space: SearchSpace, cfg: Config | None) -> dict[str, Any]:
    """Return decoded architectures by their names; a preset that is also the starting network is listed once."""
    of_backbone = type(space.backbone_space).__name__
    family = next((f for f in FAMILIES.values() if f.space['type'].rpartition('.')[2] == of_backbone), None)
    presets: dict[str, Any] = {}
    if family is not None:  # otherwise it is a network of another library
        presets = {family.full_name(name): family.arch.parse(name) for name in family.arch.presets}
    start = _start(space, cfg)
    if start is None:
        return presets
    same = next((name for name, network in presets.items() if network == start), None)
    others = {name: network for name, network in presets.items() if name != same}
    return {START if same is None else f'{START}, {same}': start, **others}


def _start(space: SearchSpace, cfg: Config | None) -> Any:
    """Return the network that the supernet or its space starts from, or None if the config has neither."""
    backbone = {} if cfg is None else (cfg.model.get('architecture') or {}).get('backbone') or {}
    init, around = backbone.get('init_cfg'), (backbone.get('space') or {}).get('around')
    given = init.get('arch') if isinstance(init, Mapping) else None
    if given is None and around is None:
        return None
    return read_network(type(space.backbone_space), around if given is None else given)


def _estimators(cfg: Config, space: SearchSpace) -> list[Estimator]:
    """Return an estimator with the latencies of the search, if it has some, and one without."""
    search = cfg.get('search_cfg') or {}
    workload = Workload.of_model(cfg.get('model', {}), search.get('input_size'), cfg.get('default_scope'))
    here, searched = (type(one.backbone_space) for one in (workload.space, space))
    if here is not searched:
        raise bad_value(f'{cfg.filename}: space', here.__name__, f'{searched.__name__}, as searched')
    path = search.get('latency_table')
    plain = Estimator(workload)
    return [plain] if path is None else [build_estimator(workload, path, search.get('analytic')), plain]


def _costs(estimators: list[Estimator], network: Any) -> dict[str, float]:
    """Return the costs by the first estimator that knows all parts of a network; empty if none does."""
    for estimator in estimators:
        try:
            cost = estimator.of_network(network)
        except ValueError:  # the table lacks a part, or the network an output
            continue
        return {name: value for name, value in vars(cost).items() if value is not None}
    return {}
