"""Searches over a trained supernet, as a config describes them."""

from contextlib import nullcontext

from mmengine.config import Config
from mmengine.runner import Runner

from mmhybrid.apis.annotation_files import SEARCH, check_annotation_files
from mmhybrid.apis.configs import drop_links_of_runner, hide_passwords
from mmhybrid.apis.weights import load_weights
from mmhybrid.engine.ranks import UntrainedRunner, join_ranks
from mmhybrid.engine.search_loop import SearchLoop
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.search import SearchResult
from mmhybrid.utils.signals import exit_on_sigterm


def build_search(cfg: Config, checkpoint: str) -> Runner:
    """Return a runner whose validation loop is the search of ``cfg.search_cfg`` over the supernet in ``checkpoint``.

    Raises:
        ValueError: If ``cfg`` has no search, or ``checkpoint`` does not fit its model.
    """
    if 'search_cfg' not in cfg:
        raise ValueError(f'{cfg.filename}: a search needs search_cfg, such as dict(type="mmhybrid.SearchLoop", ...)')
    hide_passwords(cfg)
    cfg.val_cfg = cfg.search_cfg
    # the weights that the supernet's training started from would replace ``checkpoint``
    cfg.load_from, cfg.resume = None, False
    join_ranks(cfg)
    check_annotation_files(cfg, SEARCH)
    drop_links_of_runner(cfg)
    runner = UntrainedRunner.from_cfg(cfg)
    load_weights(runner.model, read_checkpoint(checkpoint), checkpoint)
    return runner


def search(
    cfg: Config,
    checkpoint: str,
    resume: bool = False,
    storage: str | None = None,
    shared: bool = False,
    study_name: str | None = None,
) -> SearchResult:
    """Search over the supernet in ``checkpoint`` as ``cfg.search_cfg`` says; see :class:`SearchLoop`.

    Raises:
        ValueError: If the config or the checkpoint is wrong. Errors of OpenMMLab are not converted.
        SearchError: If the search cannot continue.
    """
    given = {'resume': resume or None, 'storage': storage, 'shared': shared or None, 'study_name': study_name}
    cfg.get('search_cfg', {}).update({name: value for name, value in given.items() if value is not None})
    runner = build_search(cfg, checkpoint)
    # A shared search has one process. Several ranks would wait for each other and not notice the signal.
    with exit_on_sigterm() if cfg.search_cfg.get('shared') else nullcontext():
        runner.val()
    loop = runner.val_loop
    assert isinstance(loop, SearchLoop)
    assert loop.result is not None
    return loop.result
