"""Architecture search over Optuna's storages. Only ``registered``, which no other module imports, needs torch."""

from mmhybrid.search.candidate import Candidate, ranked
from mmhybrid.search.constraints import Constraint
from mmhybrid.search.errors import SearchError, StorageError
from mmhybrid.search.pareto import Objective, front, hypervolume, ranking
from mmhybrid.search.report import SearchResult
from mmhybrid.search.samplers import BlockEvolution, Evolution, OptunaSampler, RandomSampler, Sampler, Situation
from mmhybrid.search.searcher import LogWatcher, Progress, Searcher, Watcher
from mmhybrid.search.stages import Fix, SearchSettings, Skeletons, Stage
from mmhybrid.search.storage import StudyStorage, list_studies, read_study
from mmhybrid.search.team import Team

__all__ = [
    'BlockEvolution',
    'Candidate',
    'Constraint',
    'Evolution',
    'Fix',
    'LogWatcher',
    'Objective',
    'OptunaSampler',
    'Progress',
    'RandomSampler',
    'Sampler',
    'SearchError',
    'SearchResult',
    'SearchSettings',
    'Searcher',
    'Situation',
    'Skeletons',
    'Stage',
    'StorageError',
    'StudyStorage',
    'Team',
    'Watcher',
    'front',
    'hypervolume',
    'list_studies',
    'ranked',
    'ranking',
    'read_study',
]
