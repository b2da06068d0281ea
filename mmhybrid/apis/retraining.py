"""Retraining of a search's networks, each alone, which continues after an interruption."""

import gc
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.epochs import check_counts_epochs, rescale_epochs
from mmhybrid.apis.host_configs import host_config_file, write_host_config
from mmhybrid.apis.network_files import name_of, write_network
from mmhybrid.apis.retraining_record import Retrained, RetrainingRecord
from mmhybrid.apis.taking_out import build_supernet, take_out, untrained
from mmhybrid.apis.training import latest_checkpoint, train
from mmhybrid.counting.workload import Workload, space_of
from mmhybrid.engine.evaluated_images import EvaluatedImages
from mmhybrid.engine.phase import Phase
from mmhybrid.engine.ranks import UntrainedRunner, join_ranks
from mmhybrid.engine.search_loop import team
from mmhybrid.latency.load import build_estimator
from mmhybrid.models.one_shot import OneShot
from mmhybrid.search import Candidate, SearchSettings
from mmhybrid.search.config import build_settings
from mmhybrid.search.proposals import propose
from mmhybrid.utils.checks import bad_value, check_choice, check_int
from mmhybrid.utils.files import check_stays_within

# Start of a training: as its config says, from the exported weights, or from random weights.
STARTS = ('config', 'weights', 'scratch')
TRAINING = 'training'  # a folder within that of the network
# Settings of a config that have no influence on a training.
ELSEWHERE = ('work_dir', 'launcher', 'search_cfg')


class Retraining:
    """Trains networks of a search in folders of their own, and keeps a record of their scores.

    Args:
        cfg: Config of the search, or of its supernet.
        checkpoint: Weights of the supernet; None for networks that start from random weights.
        search: Settings of the search.
        folder: Folder of the record and the networks; it is created if it does not exist.
        recipe: Config file to train with; None for the data and the schedule of ``cfg``.
        start: One of :data:`STARTS`. With ``config``, a classifier starts from random weights and all else from
            exported ones.
        epochs: Number of epochs to train for, with the schedule stretched or compressed; None for that of the config.

    Attributes:
        objective: Metric by which networks are compared.

    Raises:
        ValueError: If an argument is wrong.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str | None,
        search: SearchSettings,
        folder: str | Path,
        recipe: str | None = None,
        start: str = 'config',
        epochs: int | None = None,
    ) -> None:
        self.cfg = cfg
        self.checkpoint = checkpoint
        self.folder = Path(folder)
        self.recipe = recipe
        self.start = check_choice('start', start, STARTS)
        self.epochs = None if epochs is None else check_int('epochs', epochs, 1)
        self.objective = search.objectives[0]
        training = cfg if recipe is None else load_config(recipe)
        check_metric(training, self.objective.name)
        if epochs is not None:
            check_counts_epochs(training)
        settings = {
            'search': search.to_config(),
            'supernet': None if checkpoint is None else _digest(checkpoint),
            'recipe': None if recipe is None else Path(recipe).name,
            'start': start,
            'epochs': epochs,
            'training': {key: value for key, value in training.to_dict().items() if key not in ELSEWHERE},
        }
        self._record = RetrainingRecord(self.folder, settings)

    def run(self, candidates: Sequence[Candidate], phase: Phase | None = None) -> list[Retrained]:
        """Train the networks that are not in the record. All ranks have to call it.

        Args:
            candidates: Networks of the search.
            phase: Hook that records when a training is at work; for the tools.

        Returns:
            The results, in the order of ``candidates``.

        Raises:
            ValueError: If the record is damaged or of other settings, or a config or checkpoint is wrong. Errors of
                OpenMMLab are not converted.
        """
        scores = {candidate.arch: self._supernet_score(candidate) for candidate in candidates}
        join_ranks(self.cfg)
        record = team().lead(self._record.read)
        new = [candidate for candidate in candidates if candidate.arch not in record]
        team().lead(lambda: self._export(new))
        for arch in [candidate.arch for candidate in new]:
            name = name_of(arch)
            score, checkpoint = self._retrain(name, phase or Phase())
            record[arch] = Retrained(name, arch, scores[arch], score, str(self._config_file(name)), checkpoint)
            team().lead(lambda: self._record.write(record))
            print_log(
                f'{name}: {self.objective.name} {scores[arch]:.6g} in the supernet, {score:.6g} retrained',
                logger='current',
            )
        return [record[candidate.arch] for candidate in candidates]

    def _supernet_score(self, candidate: Candidate) -> float:
        """Return the score that the search recorded; NaN if no supernet was trained.

        Raises:
            ValueError: If the objective is an estimate, which training cannot change.
        """
        if self.checkpoint is None:
            return math.nan
        metrics = candidate.metrics or {}
        if self.objective.name not in metrics:
            allowed = f'a metric, one of {sorted(metrics)}, to retrain for'
            raise bad_value('objectives[0]', self.objective.name, allowed)
        return float(metrics[self.objective.name])

    def _config_file(self, name: str) -> Path:
        folder = self.folder / name
        return folder / f'{name}.py' if self.recipe is None else host_config_file(folder, name, self.recipe)

    def _export(self, candidates: Sequence[Candidate]) -> None:
        """Export the networks from the supernet, even those that are already in the folder.

        A config is a program, and a folder of results may come from somebody else. Only configs that are written here
        are run.
        """
        model: OneShot | None = None
        for candidate in candidates:
            check_stays_within(self.folder / name_of(candidate.arch) / TRAINING, self.folder)
        for candidate in candidates:
            name = name_of(candidate.arch)
            if model is None:
                model = build_supernet(self.cfg, self.checkpoint)
            if self.checkpoint is None:
                network = untrained(model, self.cfg, candidate.arch, candidate.estimates)
            else:
                network = take_out(model, self.cfg, candidate.arch)
            write_network(network, self.cfg, self.folder / name, name, candidate.metrics or {})
            if self.recipe is not None:
                write_host_config(network, self.recipe, self.folder / name, name)

    def _training_config(self, name: str) -> Config:
        folder = self.folder / name
        cfg = load_config(
            str(self._config_file(name)), work_dir=str(folder / TRAINING), launcher=self.cfg.get('launcher', 'none')
        )
        init = cfg.model.backbone.get('init_cfg')
        is_pretrained = isinstance(init, Mapping) and init.get('type') == 'Pretrained'
        if self.start == 'weights' and not is_pretrained:
            cfg.load_from = str(folder / f'{name}.pth')
        elif self.start == 'scratch':
            cfg.load_from = None
            cfg.model.backbone.init_cfg = None if is_pretrained else init
        if cfg.get('visualizer') is not None:
            # otherwise all trainings of this process would write into the first one's folder
            cfg.visualizer.pop('name', None)
        if self.epochs is not None:
            init_default_scope(cfg.get('default_scope', 'mmengine'))
            rescale_epochs(cfg, self.epochs, len(Runner.build_dataloader(cfg.train_dataloader)))
        return cfg

    def _retrain(self, name: str, phase: Phase) -> tuple[float, str]:
        """Train one network to its end, and return the score of its last checkpoint and the path of it.

        A new runner evaluates the checkpoint, since a checkpoint holds the averaged weights of an EMA hook.
        """
        cfg = self._training_config(name)
        if last := team().lead(lambda: latest_checkpoint(cfg.work_dir)):
            cfg.resume, cfg.load_from = True, last
        train(cfg, phase=phase)
        last = team().lead(lambda: latest_checkpoint(cfg.work_dir))
        if last is None:
            raise ValueError(f'{cfg.filename}: its default_hooks save no checkpoint at the end')
        cfg.resume, cfg.load_from = False, last
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        cfg.test_cfg = cfg.get('test_cfg') or {}
        runner = UntrainedRunner.from_cfg(cfg)
        runner.register_hook(EvaluatedImages())
        runner.register_hook(phase)
        metrics = runner.test()  # test(), since val() would make the checkpoint hook look for the best checkpoint
        del runner
        gc.collect()  # frees the accelerator's memory that the runner holds, since it and its hooks refer to each other
        metric = self.objective.name
        if metric not in metrics:
            raise bad_value(f'{cfg.filename}: val_evaluator', sorted(metrics), f'one that gives {metric}')
        return float(metrics[metric]), last


def check_metric(cfg: Config, name: str) -> None:
    """Raise ValueError before any training unless the validation of ``cfg`` has metrics with the prefix of ``name``."""
    if cfg.get('val_evaluator') is None:
        raise ValueError(f'{cfg.filename} lacks val_evaluator')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    kinds = [metric.prefix or '' for metric in Evaluator(cfg.to_dict()['val_evaluator']).metrics]
    if name.rpartition('/')[0] not in kinds:
        raise bad_value(f'{cfg.filename}: val_evaluator', [f'{kind}/...' for kind in kinds], f'one that gives {name}')


def _digest(checkpoint: str) -> str:
    """Return an identifier of a checkpoint that does not depend on its path."""
    if '://' in checkpoint:
        return checkpoint
    if not Path(checkpoint).is_file():
        raise ValueError(f'checkpoint {checkpoint} does not exist')
    digest = hashlib.sha256()
    with open(checkpoint, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return f'sha256:{digest.hexdigest()[:16]}'


def draw_random(cfg: Config, count: int) -> tuple[SearchSettings, list[Candidate]]:
    """Draw random networks that satisfy the constraints of the config's search.

    The same ``search_cfg.seed`` gives the same networks.

    Args:
        cfg: Config of a search.
        count: Number of networks.

    Returns:
        The settings of a search that evaluates nothing, and the networks in the order in which they were drawn.

    Raises:
        SearchError: If no network satisfies the constraints.
        ValueError: If ``count`` is below 1, fewer networks satisfy the constraints, or the config has no search.
    """
    if 'search_cfg' not in cfg:
        raise ValueError(f'{cfg.filename} lacks search_cfg, whose constraints random networks have to keep')
    given = cfg.search_cfg
    check_int('--random', count, 1)
    stage = {'sampler': {'type': 'RandomSampler'}, 'budget': count, 'population': count}
    names = ('objectives', 'constraints', 'seed', 'max_tries')
    kept = {name: given[name] for name in names if name in given}
    settings = build_settings({'space': space_of(cfg.model), 'stages': {'random': stage}, **kept})
    workload = Workload.of_model(cfg.model, given.get('input_size'), cfg.get('default_scope'))
    estimator = build_estimator(workload, given.get('latency_table'), given.get('analytic'))
    candidates, shortage = propose(settings, settings.stages[0], 0, count, [], estimator.estimates)
    if shortage:
        raise ValueError(shortage)
    return settings, candidates
