"""Search over a trained supernet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from mmhybrid.counting.workload import InputSize, Workload
from mmhybrid.engine.kept_batches import KEEP_IMAGES_MB
from mmhybrid.engine.known_networks import with_known_networks
from mmhybrid.engine.search_origin import origin_of
from mmhybrid.engine.subnet_evaluator import build_subnet_evaluator, supernet_of
from mmhybrid.latency.load import build_estimator
from mmhybrid.registry import LOOPS
from mmhybrid.search import LogWatcher, Searcher, SearchResult, StudyStorage, Team
from mmhybrid.search.config import build_settings
from mmhybrid.search.errors import StorageError
from mmhybrid.search.storage import FILE_NAME, STUDY_NAME
from mmhybrid.utils.files import leads_outward


@LOOPS.register_module()
class SearchLoop(BaseLoop):
    """The loop of a search, which writes ``best_arch.json`` and ``topk.csv`` into the work directory.

    Its arguments are the settings of ``search_cfg`` on one level, so that a config that inherits them, and
    ``--cfg-options``, can name each directly. Other functions build its components: the evaluation of the networks
    (:mod:`mmhybrid.engine.subnet_evaluator`), the plan of the search (:func:`build_settings`), its estimates
    (:func:`build_estimator`) and its storage (:class:`StudyStorage`).

    Args:
        runner: Runner whose model is a :class:`mmhybrid.models.one_shot.OneShot` with trained weights.
        dataloader: Config of a data loader; candidates are evaluated on its data set.
        evaluator: As for ValLoop.
        stages: Stages of the search, as for :func:`mmhybrid.search.config.build_settings`, which also takes the next
            five arguments. The space is the supernet's. ``start`` of a stage may name networks as
            :func:`known_networks` takes them.
        objectives: Metrics of the evaluator, or estimates, each with a direction.
        constraints: Bounds of estimates by their names.
        tie_breaks: Metrics or estimates, each with a direction, that decide between equal candidates.
        racing: Arguments of :class:`mmhybrid.search.Racing`, the rule by which evaluations stop early; None to evaluate
            all networks on all images.
        seed: Seed that determines all proposals.
        max_tries: Number of draws for a candidate, on average over a stage, after which the stage gives up.
        calibration: Arguments of :func:`mmhybrid.engine.bn_calibration.calibration_batches`.
        latency_table: Path of a latency table or an analytic model, for the estimates ``latency_ms`` and
            ``latency_upper_ms``.
        analytic: Path of an analytic model for the parts that the table lacks.
        input_size: Side of the images, or height and width, for the estimates, if the archs do not contain it.
        storage: Path of a file, or an SQLAlchemy URL; the default is a file in the work directory.
        resume: Whether to continue the search in the storage.
        shared: Whether other processes search in the same storage at the same time.
        study_name: Name of the search in a storage that holds several.
        claim_hours: Hours without a sign of life of a process after which a shared search takes over its candidate.
        retry_minutes: Minutes to wait for a database server that does not answer.
        evaluation_tries: Number of attempts to evaluate a network, after which it is recorded as failed.
        max_failed: Largest share of evaluations that may fail in this way.
        keep_images_mb: Memory in MiB for each process to keep preprocessed images on the model's device. A set of
            images that exceeds it is loaded anew for each network.

    Attributes:
        settings: Settings of the search.
        estimate: Function from an arch to its costs by name.
        scorer: Function from an arch to its metrics by name.
        searcher: Searcher that :meth:`run` runs.
        result: Result of the search; None before its end.

    Raises:
        ValueError: If an argument is wrong, or candidates would be evaluated on images of the config's test set.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        evaluator: Evaluator | dict | list,
        stages: Mapping[str, Mapping[str, Any] | None],
        objectives: Sequence[Mapping[str, Any]],
        calibration: Mapping[str, Any],
        constraints: Mapping[str, Mapping[str, Any] | None] | None = None,
        tie_breaks: Sequence[Mapping[str, Any]] = (),
        racing: Mapping[str, Any] | None = None,
        seed: int = 0,
        max_tries: int = 1000,
        latency_table: str | None = None,
        analytic: str | None = None,
        input_size: InputSize | None = None,
        storage: str | None = None,
        resume: bool = False,
        shared: bool = False,
        study_name: str = STUDY_NAME,
        claim_hours: float = 1 / 60,
        retry_minutes: float = 10.0,
        evaluation_tries: int = 2,
        max_failed: float = 0.2,
        keep_images_mb: int = KEEP_IMAGES_MB,
    ) -> None:
        model = supernet_of(runner)
        self.settings = build_settings(
            {
                'space': model.space,
                'stages': with_known_networks(stages, model.space),
                'objectives': objectives,
                'constraints': {} if constraints is None else constraints,
                'tie_breaks': tie_breaks,
                'racing': racing,
                'seed': seed,
                'max_tries': max_tries,
            }
        )
        self.scorer = build_subnet_evaluator(
            runner, model, dataloader, evaluator, calibration, keep_images_mb, self.settings.racing, self.settings.seed
        )
        super().__init__(runner, self.scorer.loader)
        workload = Workload.of_model(runner.cfg.model, input_size, runner.cfg.get('default_scope'))
        self.estimate = build_estimator(workload, latency_table, analytic).estimates
        self.result: SearchResult | None = None
        images = DATASETS.build(dict(calibration['dataset']))
        study = StudyStorage(
            storage or own_storage(runner.work_dir),
            self.settings,
            resume=resume,
            shared=shared,
            study_name=study_name,
            claim_hours=claim_hours,
            origin=origin_of(runner.cfg, model, self.scorer.loader.dataset, images, calibration),
            retry_minutes=retry_minutes,
        )
        self.searcher = Searcher(
            self.settings,
            self.estimate,
            self.scorer,
            study,
            team(),
            LogWatcher(self.settings, runner.logger),
            evaluation_tries=evaluation_tries,
            max_failed=max_failed,
            save=self._save,
        )

    def run(self) -> dict[str, float]:
        """Search to the end, and return the metrics of the best network."""
        self.result = result = self.searcher.run()
        if get_rank() == 0:
            for path in self._save(result):
                self.runner.logger.info(f'written: {path}')
            self.runner.logger.info(
                f'{len(result.evaluated)} evaluations took {result.evaluation_hours:.3g} h, those of earlier runs and '
                f'other processes among them; proposing took {(result.proposal_seconds or 0) / 3600:.3g} h'
            )
            if result.shortfall:
                self.runner.logger.warning(result.shortfall)
        return dict(result.best.metrics or {})

    def _save(self, result: SearchResult) -> list[Path]:
        return result.write(self.runner.work_dir)


def own_storage(work_dir: str) -> Path:
    """Return the file in a work directory; raise StorageError if it is a link to another folder."""
    path = Path(work_dir, FILE_NAME)
    if leads_outward(path):
        raise StorageError(f'{path}: a link to another folder; name what it leads to as storage')
    return path


def team() -> Team:
    """Return the team of all ranks of this run."""
    return Team(get_rank(), get_world_size(), all_gather_object)
