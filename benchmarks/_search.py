"""Builds the search of a config for the benchmarks of searching."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.searching import build_search
from mmhybrid.engine.search_loop import SearchLoop, team
from mmhybrid.search import Searcher, SearchSettings, StudyStorage
from mmhybrid.search.evaluation import Evaluate
from mmhybrid.search.storage import FILE_NAME


def load_search(
    config: str | Path, checkpoint: str, work_dir: str, options: Mapping[str, Any] | None = None, launcher: str = 'none'
) -> SearchLoop:
    """Build the search loop of a config with ``search_cfg``, over the supernet in ``checkpoint``.

    Raises:
        ValueError: If the config has no search, or the checkpoint does not fit.
    """
    cfg = load_config(str(config), options, work_dir, launcher)
    cfg.log_level = 'WARNING'
    return build_search(cfg, checkpoint).val_loop


def make_searcher(loop: SearchLoop, settings: SearchSettings, evaluate: Evaluate, folder: str | Path) -> Searcher:
    """Make a search with other settings, or another evaluation, than the loop's own; it is stored in ``folder``."""
    return Searcher(settings, loop.estimate, evaluate, StudyStorage(Path(folder, FILE_NAME), settings), team())
