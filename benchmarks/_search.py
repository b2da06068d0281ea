"""The search of a config, ready to run, for the benchmarks of searching."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.runner import Runner

from mmhybrid.engine import cli
from mmhybrid.engine.search_loop import SearchLoop
from mmhybrid.search import Searcher, SearchSettings, StudyStorage, Team
from mmhybrid.search.searcher import Evaluate
from mmhybrid.search.storage import FILE_NAME


def load_search(
    config: str | Path, checkpoint: str, work_dir: str, options: Mapping[str, Any] | None = None, launcher: str = 'none'
) -> SearchLoop:
    """The loop of a config with ``search_cfg``, over the supernet in ``checkpoint``.

    Raises:
        ValueError: If the config has no search, or the checkpoint does not fit.
    """
    cfg = cli.load_config(str(config), options, work_dir, launcher)
    if 'search_cfg' not in cfg:
        raise ValueError(f'{config}: a search needs search_cfg')
    cfg.val_cfg = cfg.search_cfg
    cfg.log_level = 'WARNING'
    cli.join_ranks(cfg)
    runner = Runner.from_cfg(cfg)
    cli.check_fits(runner.model, cli.read_checkpoint(checkpoint), checkpoint)
    return runner.val_loop


def make_searcher(loop: SearchLoop, settings: SearchSettings, evaluate: Evaluate, folder: str | Path) -> Searcher:
    """A search of other settings, or with another evaluation, than the loop's own; stored in ``folder``."""
    team = Team(get_rank(), get_world_size(), all_gather_object)
    return Searcher(settings, loop.estimate, evaluate, StudyStorage(Path(folder, FILE_NAME), settings), team)
