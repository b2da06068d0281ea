"""Known networks from which a search may start, by the names and files in a config."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from mmhybrid.space import SearchSpace, Value
from mmhybrid.space.found import read_found
from mmhybrid.utils.checks import bad_value, check_list


def known_networks(
    field: str, networks: Sequence[str | Mapping[str, Value]], space: SearchSpace
) -> list[dict[str, Value]]:
    """Return the genes of networks.

    Args:
        field: Name of the config's field, for error messages.
        networks: Genes, files of a search or a retraining (see :func:`read_found`), names of presets, or values of the
            backbone's ``arch``.
        space: Search space of the networks.

    Raises:
        ValueError: If a file cannot be read, or a network is not in the space.
    """
    genes = []
    for place, network in enumerate(check_list(field, networks)):
        try:
            genes.append(dict(space.canonical(_genes(network, space))))
        except ValueError as error:
            raise ValueError(f'{field}[{place}]: {error}') from error
    return genes


def _genes(network: object, space: SearchSpace) -> Mapping[str, Value]:
    if isinstance(network, Mapping):
        return space.encode(dict(network)) if _is_architecture(network, space) else network
    if not isinstance(network, str):
        raise bad_value('network', network, 'genes, an architecture, a file, or the name of a preset')
    if '.json' in network or '.csv' in network:
        return read_found(network).arch
    return space.encode(network)


def _is_architecture(network: Mapping[str, Any], space: SearchSpace) -> bool:
    """Return whether a mapping has a field of the family's architectures that is not the name of a gene."""
    family: Any = space.arch_class
    names = set() if family is None else {field.name for field in fields(family)}
    return not names.isdisjoint(network.keys() - space.choices.keys())


def with_known_networks(stages: Any, space: SearchSpace) -> Any:
    """Return the stages of a config, with names in each stage's ``start`` replaced by genes."""
    if not isinstance(stages, Mapping):
        return stages

    def begun(name: str, stage: Any) -> Any:
        if not isinstance(stage, Mapping) or not stage.get('start'):
            return stage
        return {**stage, 'start': known_networks(f'stage {name}.start', stage['start'], space)}

    return {name: begun(name, stage) for name, stage in stages.items()}
