"""The one module of this package that knows the registries, and with them MMEngine."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mmhybrid.registry import SAMPLERS, SEARCH_SPACES, build_from_data
from mmhybrid.search.constraints import Constraint
from mmhybrid.search.pareto import Objective
from mmhybrid.search.samplers import BlockEvolution, Evolution, OptunaSampler, RandomSampler
from mmhybrid.search.settings import SearchSettings
from mmhybrid.search.stages import Fix, Skeletons, Stage
from mmhybrid.space import Arch, SearchSpace, Value
from mmhybrid.utils.checks import bad_value, check_class, check_keys, check_list

Build = Callable[[Any], Any]

for _sampler in (RandomSampler, Evolution, BlockEvolution, OptunaSampler):
    SAMPLERS.register_module(module=_sampler)


def build_settings(config: Mapping[str, Any]) -> SearchSettings:
    """The search that a config describes, in the form that :meth:`SearchSettings.to_config` gives.

    A config is a program: spaces and samplers may be named as MMEngine allows it. What a storage holds is for
    :func:`settings_from_data`.

    Keys ``space``, ``stages`` and ``objectives``, and if wanted ``constraints``, ``seed`` and ``max_tries``; spaces
    and samplers are dicts with a ``type``, the others the arguments of their classes.

    Raises:
        ValueError: Naming the field, the value and what is allowed.
    """
    return _settings(config, SEARCH_SPACES.build, _build_sampler)


def settings_from_data(config: Mapping[str, Any]) -> SearchSettings:
    """The search that a storage describes; see :func:`build_settings`. Only registered classes are built.

    Raises:
        ValueError: Naming the field, the value and what is allowed.
    """
    return _settings(
        config, partial(build_from_data, SEARCH_SPACES, 'space'), partial(build_from_data, SAMPLERS, 'sampler')
    )


def _settings(config: Mapping[str, Any], build_space: Build, build_sampler: Build) -> SearchSettings:
    check_keys('search', config, ('space', 'stages', 'objectives'), ('constraints', 'seed', 'max_tries', 'tie_breaks'))
    plain = {name: config[name] for name in ('seed', 'max_tries') if name in config}
    return SearchSettings(
        space=_space(build_space, config['space']),
        stages=tuple(_stage(stage, build_space, build_sampler) for stage in check_list('stages', config['stages'])),
        objectives=tuple(_objective(item) for item in check_list('objectives', config['objectives'])),
        tie_breaks=tuple(_objective(item) for item in check_list('tie_breaks', config.get('tie_breaks', ()))),
        constraints=tuple(_constraint(item) for item in check_list('constraints', config.get('constraints', ()))),
        **plain,
    )


def _stage(config: object, build_space: Build, build_sampler: Build) -> Stage:
    optional = ('sampler', 'budget', 'population', 'restrict', 'space', 'fix', 'skeletons', 'start', 'rank_by')
    check_keys('stage', config, ('name',), optional)
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


def _constraint(config: Any) -> Constraint:
    check_keys('constraint', config, ('name',), ('min', 'max'))
    return Constraint(**config)
