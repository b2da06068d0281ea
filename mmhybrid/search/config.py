"""Functions that build the settings of a search from its config or from the data that a storage holds."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mmhybrid.registry import SAMPLERS, SEARCH_SPACES, build_from_data
from mmhybrid.search.constraints import Constraint
from mmhybrid.search.pareto import Objective
from mmhybrid.search.racing import Racing
from mmhybrid.search.settings import SearchSettings
from mmhybrid.search.stages import Fix, Skeletons, Stage
from mmhybrid.space import Arch, SearchSpace, Value
from mmhybrid.utils.checks import bad_value, check_class, check_keys, check_list

Build = Callable[[Any], Any]
# A config holds these under names, and the examples appear in error messages.
EXAMPLES = {
    'stages': 'stages=dict(coarse=dict(sampler=...), fine=dict(sampler=...))',
    'constraints': 'constraints=dict(latency_ms=dict(max=12))',
}


def build_settings(config: Mapping[str, Any]) -> SearchSettings:
    """Build the settings of the search that a config describes.

    A config is a program, so it may name search spaces and samplers in any way that MMEngine allows. For the data in a
    storage, use :func:`settings_from_data`.

    The keys ``space``, ``stages`` and ``objectives`` are required, and ``constraints``, ``tie_breaks``, ``racing``,
    ``seed`` and ``max_tries`` are optional. Search spaces and samplers are dicts with a ``type``; the others hold the
    arguments of their classes. Stages, in their order, and constraints are given by name, so that a config that
    inherits them, or ``--cfg-options``, can change each: ``stages=dict(coarse=..., fine=...)``,
    ``constraints=dict(latency_ms=dict(max=12))``. A stage or constraint that is None is left out. Each stage must name
    its sampler, so that a misspelt name does not add a stage.

    Raises:
        ValueError: If a field is wrong. The message names the field, its value and what is allowed.
    """
    listed = {name: _listed(name, config[name]) for name in EXAMPLES if name in config}
    return _settings({**config, **listed}, SEARCH_SPACES.build, _build_sampler)


def read_constraints(named: object) -> tuple[Constraint, ...]:
    """Return the constraints of a config, see :func:`build_settings`."""
    return tuple(_constraint(item) for item in _listed('constraints', named))


def _listed(field: str, named: object) -> list[dict[str, Any]]:
    """Return the items of a dict by name as a list of dicts that hold their names."""
    if not isinstance(named, Mapping):
        raise bad_value(field, named, f'a dict of dicts by name, such as {EXAMPLES[field]}')
    items = {name: item for name, item in named.items() if item is not None}
    for name, item in items.items():
        if not isinstance(name, str) or name.isdigit():
            raise bad_value(f'name in {field}', name, f'a name, not a place in a list, such as {EXAMPLES[field]}')
        if 'name' in check_class(f'{field}.{name}', item, Mapping):
            raise bad_value(f'{field}.{name}.name', item['name'], 'no name besides the key under which it stands')
        if field == 'stages' and item.get('sampler') is None:
            raise bad_value(f'stages.{name}.sampler', None, f'a sampler config, or no stage of the name {name!r}')
    return [{'name': name, **item} for name, item in items.items()]


def settings_from_data(config: Mapping[str, Any]) -> SearchSettings:
    """Build the settings of the search that a storage holds, from registered classes only.

    The data have the form of :meth:`SearchSettings.to_config`, in which stages and constraints are lists of dicts with
    names.

    Raises:
        ValueError: If a field is wrong. The message names the field, its value and what is allowed.
    """
    return _settings(
        config, partial(build_from_data, SEARCH_SPACES, 'space'), partial(build_from_data, SAMPLERS, 'sampler')
    )


def _settings(config: Mapping[str, Any], build_space: Build, build_sampler: Build) -> SearchSettings:
    optional = ('constraints', 'seed', 'max_tries', 'tie_breaks', 'racing')
    check_keys('search', config, ('space', 'stages', 'objectives'), optional)
    plain = {name: config[name] for name in ('seed', 'max_tries') if name in config}
    return SearchSettings(
        space=_space(build_space, config['space']),
        stages=tuple(_stage(stage, build_space, build_sampler) for stage in check_list('stages', config['stages'])),
        objectives=tuple(_objective(item) for item in check_list('objectives', config['objectives'])),
        tie_breaks=tuple(_objective(item) for item in check_list('tie_breaks', config.get('tie_breaks', ()))),
        constraints=tuple(_constraint(item) for item in check_list('constraints', config.get('constraints', ()))),
        racing=None if config.get('racing') is None else _racing(config['racing']),
        **plain,
    )


def _stage(config: object, build_space: Build, build_sampler: Build) -> Stage:
    optional = ('sampler', 'budget', 'population', 'restrict', 'space', 'fix', 'skeletons', 'start', 'rank_by')
    check_keys(_called('stage', config), config, ('name',), optional)
    assert isinstance(config, Mapping)
    given = {name: value for name, value in config.items() if value is not None}
    readers: dict[str, Callable[[Any], Any]] = {
        'sampler': build_sampler,
        'space': partial(_space, build_space),
        'fix': _fix,
        'skeletons': _skeletons,
        'start': _start,
        'rank_by': _objective,
        'restrict': lambda value: dict(check_class('stage.restrict', value, Mapping)),
    }
    return Stage(**{name: readers[name](value) if name in readers else value for name, value in given.items()})


def _space(build: Build, config: object) -> SearchSpace:
    space = config if isinstance(config, SearchSpace) else build(config)
    if not isinstance(space, SearchSpace):
        raise bad_value('space', config, 'the config of a search space')
    return space


def _build_sampler(config: Any) -> Any:
    check_keys('sampler', config, ('type',), tuple(config) if isinstance(config, Mapping) else ())
    if isinstance(config['type'], str) and SAMPLERS.get(config['type']) is None:
        raise bad_value('sampler.type', config['type'], f'one of {sorted(SAMPLERS.module_dict)}')
    return SAMPLERS.build(dict(config))


def _fix(config: Any) -> Fix:
    check_keys('fix', config, ('stage', 'genes'), ('rank',))
    genes = config['genes']
    patterns = (genes,) if isinstance(genes, str) else tuple(check_list('fix.genes', genes))
    return Fix(**{**config, 'genes': patterns})


def _skeletons(config: Any) -> Skeletons:
    check_keys('skeletons', config, ('stage',), ('count', 'stratify'))
    return Skeletons(**config)


def _start(config: Any) -> tuple[Mapping[str, Value], ...]:
    return tuple(Arch(genes) for genes in check_list('stage.start', config))


def _objective(config: Any) -> Objective:
    check_keys('objective', config, ('name',), ('direction',))
    return Objective(**config)


def _racing(config: Any) -> Racing:
    check_keys('racing', config, ('metric',), ('error', 'keep'))
    return Racing(**config)


def _constraint(config: Any) -> Constraint:
    check_keys(_called('constraint', config), config, ('name',), ('min', 'max'))
    return Constraint(**config)


def _called(kind: str, config: object) -> str:
    name = config.get('name') if isinstance(config, Mapping) else None
    return f'{kind} {name}' if isinstance(name, str) else kind
