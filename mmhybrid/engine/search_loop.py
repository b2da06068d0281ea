"""Search over a trained supernet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader, Dataset

from mmhybrid.counting.workload import InputSize, Workload
from mmhybrid.engine.bn_calibration import calibrated, calibration_batches
from mmhybrid.engine.evaluated_images import count_only
from mmhybrid.engine.known_networks import known_networks
from mmhybrid.engine.search_origin import check_disjoint, origin_of
from mmhybrid.latency.load import build_estimator
from mmhybrid.models.one_shot import OneShot
from mmhybrid.registry import LOOPS
from mmhybrid.search import LogWatcher, Searcher, SearchError, SearchResult, StudyStorage, Team
from mmhybrid.search.config import build_settings
from mmhybrid.search.storage import FILE_NAME, STUDY_NAME
from mmhybrid.space import Arch
from mmhybrid.torch_api import is_device_error
from mmhybrid.utils.checks import bad_value, check_keys
from mmhybrid.utils.errors import first_line


class SubnetEvaluator:
    """Scores of a subnet with batch-norm statistics of its own; no rank waits for another.

    Args:
        model: The supernet.
        dataset: What to evaluate on, whole on every rank.
        evaluator: Of the config.
        batches: To calibrate on.
        batch_size: Images of a batch.
        num_workers: Processes that load them.
    """

    def __init__(
        self,
        model: OneShot,
        dataset: Dataset,
        evaluator: Evaluator,
        batches: list[Any],
        batch_size: int,
        num_workers: int,
    ) -> None:
        self.model = model
        self.evaluator = evaluator
        self.evaluator.dataset_meta = getattr(dataset, 'metainfo', None)
        count_only(dataset, self.evaluator)
        self.batches = batches
        self.loader: DataLoader = DataLoader(
            dataset,
            batch_size,
            num_workers=num_workers,
            collate_fn=pseudo_collate,
            persistent_workers=num_workers > 0,
        )

    def __call__(self, arch: Arch) -> dict[str, float]:
        """Every metric of the evaluator that is a number.

        Raises:
            SearchError: If the device is lost for this process.
            RuntimeError: Naming the network, from whatever else went wrong.
        """
        try:
            return self._score(arch)
        except Exception as error:
            if is_device_error(error):
                raise SearchError(
                    f'the device failed ({first_line(error)}), and can do nothing more for this process: start again '
                    'with --resume'
                ) from error
            raise RuntimeError(f'the evaluation of {arch.to_json()} failed: {error}') from error

    @torch.no_grad()
    def _score(self, arch: Arch) -> dict[str, float]:
        self.model.set_arch(arch)
        for metric in self.evaluator.metrics:
            metric.results.clear()  # of an evaluation that ended half-way
        with calibrated(self.model, self.batches):
            for batch in self.loader:
                self.evaluator.process(data_samples=self.model.val_step(batch), data_batch=batch)
        metrics: dict[str, float] = {}
        for metric in self.evaluator.metrics:
            # BaseMetric.evaluate would gather from all ranks, which are at other subnets
            found = metric.compute_metrics(metric.results)
            metric.results.clear()
            prefix = f'{metric.prefix}/' if metric.prefix else ''
            metrics |= {f'{prefix}{name}': float(value) for name, value in found.items() if _is_number(value)}
        return metrics


@LOOPS.register_module()
class SearchLoop(BaseLoop):
    """Search, and write ``best_arch.json`` and ``topk.csv`` into the work directory.

    Args:
        runner: Its model is a :class:`OneShot` with trained weights.
        dataloader: Config; its dataset is the one that candidates are judged on.
        evaluator: As of ValLoop.
        stages: As :func:`mmhybrid.search.config.build_settings` takes them, like the next four. The space is the
            supernet's. What a stage starts from may be named as :func:`known_networks` takes it.
        objectives: Metrics of the evaluator, or estimates, each with a direction.
        constraints: Bounds of estimates by their names.
        tie_breaks: Metrics or estimates, each with a direction, that decide among equals.
        seed: Everything proposed follows from it.
        max_tries: Draws for a candidate, on average over a stage, before the stage gives up.
        calibration: Arguments of :func:`calibration_batches`.
        latency_table: Path of a table or of an analytic model, for the estimates ``latency_ms`` and
            ``latency_upper_ms``.
        analytic: Path of an analytic model that answers for the parts which the table lacks.
        input_size: Side of the images, or height and width, where the archs do not say it, for the estimates.
        storage: A file or an SQLAlchemy URL; by default a file in the work directory.
        resume: Go on with the search that the storage holds.
        shared: Whether other processes search in the same storage at the same time.
        study_name: Of the search, where a storage holds several.
        claim_hours: After so long without a word of its process a shared search takes over a candidate in work.
        retry_minutes: For how long to wait for a database server that does not answer.
        evaluation_tries: How often to evaluate a network whose evaluation raises, before it is recorded as failed.
        max_failed: Share of the evaluations that may fail so.

    Attributes:
        settings: Of the search.
        estimate: Costs of an arch by name.
        scorer: Metrics of an arch by name.
        searcher: What :meth:`run` runs.
        result: What it found; None before its end.

    Raises:
        ValueError: If an argument is wrong, or candidates would be judged on images of the config's test set.
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
    ) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if not isinstance(model, OneShot):
            raise bad_value('model', type(model).__name__, 'mmhybrid.OneShot, for a search')
        if get_world_size() > 1:
            revert_sync_batchnorm(model)  # ranks are at different subnets and must not wait for each other
        self.scorer = _build_scorer(runner, model, dataloader, evaluator, calibration)
        super().__init__(runner, self.scorer.loader)
        self.settings = build_settings(
            {
                'space': model.space,
                'stages': _with_starts(stages, model),
                'objectives': objectives,
                'constraints': {} if constraints is None else constraints,
                'tie_breaks': tie_breaks,
                'seed': seed,
                'max_tries': max_tries,
            }
        )
        workload = Workload.of_model(runner.cfg.model, input_size)
        self.estimate = build_estimator(workload, latency_table, analytic).estimates
        place = storage or Path(runner.work_dir, FILE_NAME)
        images = DATASETS.build(dict(calibration['dataset']))
        origin = origin_of(runner.cfg, model, self.scorer.loader.dataset, images, calibration)
        self.result: SearchResult | None = None
        self.searcher = Searcher(
            self.settings,
            self.estimate,
            self.scorer,
            StudyStorage(
                place,
                self.settings,
                resume=resume,
                shared=shared,
                study_name=study_name,
                claim_hours=claim_hours,
                origin=origin,
                retry_minutes=retry_minutes,
            ),
            team(),
            LogWatcher(self.settings, runner.logger),
            evaluation_tries=evaluation_tries,
            max_failed=max_failed,
            save=self._save,
        )

    def run(self) -> dict[str, float]:
        """Search to the end; the metrics of the best network."""
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


def _with_starts(stages: Any, model: OneShot) -> Any:
    """The stages of a config, each with the genes of the networks that its ``start`` names."""
    if not isinstance(stages, Mapping):
        return stages

    def begun(name: str, stage: Any) -> Any:
        if not isinstance(stage, Mapping) or not stage.get('start'):
            return stage
        return {**stage, 'start': known_networks(f'stage {name}.start', stage['start'], model.space)}

    return {name: begun(name, stage) for name, stage in stages.items()}


def _build_scorer(
    runner: Runner,
    model: OneShot,
    dataloader: Mapping[str, Any],
    evaluator: Evaluator | dict | list,
    calibration: Mapping[str, Any],
) -> SubnetEvaluator:
    """What judges the candidates, of images that are not in the test set."""
    dataset = DATASETS.build(dict(dataloader['dataset']))
    check_keys('calibration', calibration, ('dataset', 'num_images'), ('batch_size', 'num_workers', 'seed'))
    seen = {'val_dataloader': dataset, 'calibration.dataset': DATASETS.build(dict(calibration['dataset']))}
    check_disjoint(seen, runner.cfg.get('test_dataloader'))
    return SubnetEvaluator(
        model,
        dataset,
        evaluator if isinstance(evaluator, Evaluator) else runner.build_evaluator(evaluator),
        calibration_batches(**calibration),
        dataloader['batch_size'],
        dataloader.get('num_workers', 0),
    )


def team() -> Team:
    """All ranks of this run."""
    return Team(get_rank(), get_world_size(), all_gather_object)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) or (isinstance(value, torch.Tensor) and value.numel() == 1)
