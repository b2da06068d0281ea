"""Architecture search over Optuna's storages."""

from mmhybrid.utils.optional import require

require('optuna', 'a search')

from mmhybrid.search.candidate import Candidate, ranked  # noqa: E402
from mmhybrid.search.constraints import Constraint  # noqa: E402
from mmhybrid.search.errors import SearchError, StorageError  # noqa: E402
from mmhybrid.search.pareto import Objective, front, hypervolume, ranking  # noqa: E402
from mmhybrid.search.racing import Racing  # noqa: E402
from mmhybrid.search.reading import list_studies, read_study  # noqa: E402
from mmhybrid.search.result import SearchResult  # noqa: E402
from mmhybrid.search.samplers import BlockEvolution, Evolution, OptunaSampler, RandomSampler, Sampler, Situation  # noqa: E402
from mmhybrid.search.searcher import Searcher  # noqa: E402
from mmhybrid.search.settings import SearchSettings  # noqa: E402
from mmhybrid.search.stages import Fix, Skeletons, Stage  # noqa: E402
from mmhybrid.search.storage import StudyStorage  # noqa: E402
from mmhybrid.search.team import Team  # noqa: E402
from mmhybrid.search.watchers import LogWatcher, Progress, Watcher  # noqa: E402

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
    'Racing',
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
