"""Every search config: what it says, whether it can be met, and that it runs."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.searching import search
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.datasets.demo_data import make_demo_data
from mmhybrid.latency.analytic import NOMINAL, AnalyticLatency
from mmhybrid.latency.devices import Device
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.table import Entry, LatencyTable, Uncertainty
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.search import Objective, SearchSettings
from mmhybrid.search.config import build_settings
from mmhybrid.search.proposals import propose
from mmhybrid.space import AutoViTSpace

ROOT = Path(__file__).resolve().parents[1]

from search_demo import save_weights, stored_candidates  # noqa: E402

SEARCHES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('*search*.py') if '_base_' not in path.parts
)
# the rest is left to the slow suite
QUICK = {'configs/autovit/search_autovit_xxs_imagenette.py', 'configs/glit/search_glit_tiny_distribution_in1k.py'}
EVOLUTION = {'type': 'Evolution', 'num_parents': 10, 'mutation_share': 0.5, 'crossover_share': 0.5, 'mutate_prob': 0.1}
ALGORITHM_2 = {
    'type': 'BlockEvolution',
    'num_parents': 10,
    'mutation_share': 0.5,
    'crossover_share': 0.5,
    'depth_prob': 0.2,
    'block_prob': 0.4,
}
# the paper's range of parameters in millions (table 1) and latency in milliseconds (table 2)
BUDGETS = {'xxs': (1.0, 1.8, 10.2), 'xs': (1.6, 2.6, 19.3), 's': (4.0, 7.2, 27.9)}


def read(path: str) -> Config:
    return load_config(str(ROOT / path))


def settings_of(cfg: Config) -> SearchSettings:
    named = ('stages', 'objectives', 'constraints', 'tie_breaks')
    space = SEARCH_SPACES.build(cfg.model.architecture.backbone.space)
    return build_settings({'space': space, **{name: cfg.search_cfg[name] for name in named if name in cfg.search_cfg}})


def phone(size: str) -> AnalyticLatency:
    """A device on which the paper's network of this size is as fast as the paper says."""
    space = AutoViTSpace(size)
    estimator = Estimator(Workload(space, {'type': 'mmhybrid.AutoViT'}, None, 1000), AnalyticLatency(NOMINAL))
    latency = estimator(space.encode(size)).latency_ms
    assert latency is not None
    return AnalyticLatency(NOMINAL.slowed(BUDGETS[size][2] / latency))


def test_quick_ones_exist() -> None:
    assert set(SEARCHES) > QUICK


@pytest.mark.parametrize('path', SEARCHES)
def test_constraints_can_be_met(path: str) -> None:
    cfg = read(path)
    settings = settings_of(cfg)
    architecture, space = cfg.model.architecture, settings.space
    latency = phone(architecture.backbone.space.table) if 'latency_table' in cfg.search_cfg else None
    workload = Workload.of_model(cfg.model, cfg.search_cfg.get('input_size'), cfg.get('default_scope'))
    estimator, rng = Estimator(workload, latency), random.Random(0)
    estimates = (estimator.estimates(space.sample(rng)) for _ in range(1000))
    assert settings.constraints
    assert any(not any(bound.violations(costs) for bound in settings.constraints) for costs in estimates)


@pytest.mark.parametrize('path', SEARCHES)
def test_candidates_are_judged_on_images_held_out(path: str) -> None:
    cfg = read(path)
    assert cfg.train_dataloader.dataset.ann_file == cfg.search_cfg.calibration.dataset.ann_file
    held_out = cfg.val_dataloader.dataset
    assert (held_out.ann_file, held_out.data_prefix) == ('meta/search_val.txt', 'train')
    assert cfg.test_dataloader.dataset.data_prefix == 'val'


@pytest.mark.parametrize('size', BUDGETS)
def test_coarse_to_fine_is_the_papers(size: str) -> None:
    """AutoViT, algorithm 2, section 4.1 and table 1."""
    settings = settings_of(read(f'configs/autovit/search_autovit_{size}_in1k.py'))
    coarse, fine = settings.stages
    assert coarse.rank_by == Objective('macs_m')
    assert fine.sampler.to_config() == ALGORITHM_2
    assert [number for number, _ in fine.generations()] == list(range(20))
    assert {count for _, count in fine.generations()} == {50}
    assert fine.skeletons is not None
    assert fine.skeletons.count == 50
    low, high, milliseconds = BUDGETS[size]
    bounds = {bound.name: (bound.min, bound.max) for bound in settings.constraints}
    assert bounds == {'params_m': (low, high), 'latency_ms': (None, milliseconds)}


@pytest.mark.parametrize(
    'path',
    [
        'autovit/search_autovit_xxs_evolution_in1k',
        'glit/search_glit_tiny_distribution_in1k',
        'glit/search_glit_tiny_detail_in1k',
        *(
            f'glit/search_glit_{size}_{stage}_in1k'
            for size in ('small', 'base')
            for stage in ('distribution', 'detail')
        ),
        *(
            f'glit/search_glit_tiny_{kind}_{stage}_in1k'
            for kind in ('conv2d', 'window')
            for stage in ('distribution', 'detail')
        ),
        'glit/search_glit_tiny_flat_in1k',
        'glit/search_glit_tiny_flat-single-path_in1k',
        'glnet/search_glnet_in1k',
    ],
)
def test_evolution_is_the_papers(path: str) -> None:
    """SPOS: 1000 networks, 50 a generation, 10 parents."""
    (stage,) = settings_of(read(f'configs/{path}.py')).stages
    assert stage.sampler.to_config() == EVOLUTION
    assert (stage.budget, stage.population) == (1000, 50)


@pytest.mark.parametrize('path', ['autovit/search_autovit_xxs', 'glit/search_glit_tiny'])
def test_baselines_differ_in_the_sampler_alone(path: str) -> None:
    name = 'flat' if 'glit' in path else 'evolution'
    evolution, random_search = (read(f'configs/{path}_{kind}_in1k.py') for kind in (name, 'random'))
    assert evolution.model == random_search.model
    assert evolution.search_cfg.constraints == random_search.search_cfg.constraints


def test_random_search_of_autovit_evaluates_nothing() -> None:
    """AutoViT, table 8: 0 GPU hours; one network, drawn within the bounds."""
    settings = settings_of(read('configs/autovit/search_autovit_xxs_random_in1k.py'))
    assert settings.budget == 0
    assert [stage.budget for stage in settings.stages] == [1]


@pytest.mark.parametrize('size', [*BUDGETS, 'union', 'xxs_transformer-only'])
def test_of_equally_accurate_networks_the_smallest_counts(size: str) -> None:
    """AutoViT, section 3.3.2: "maximize classification accuracy while minimizing the model size"."""
    settings = settings_of(read(f'configs/autovit/search_autovit_{size}_in1k.py'))
    assert settings.tie_breaks == (Objective('params_m', 'minimize'),)


def test_skeletons_are_of_all_kinds() -> None:
    """Figure 5: promising skeletons. Of the feasible XXS a third each has three, four and five stages when drawn."""
    cfg = read('configs/autovit/search_autovit_xxs_in1k.py')
    settings, latency = settings_of(cfg), phone('xxs')
    architecture = cfg.model.architecture
    estimate = Estimator(Workload(settings.space, architecture.backbone.backbone, None, 1000), latency).estimates
    coarse, fine = settings.stages
    feasible, _ = propose(settings, replace(coarse, budget=600, population=600), 0, 600, [], estimate)
    results = settings.results(feasible)

    def worst_share(count: int, stratify: bool) -> float:
        """How far the share of a number of stages or a resolution is from its share of all feasible networks."""
        assert fine.skeletons is not None
        skeletons = replace(fine.skeletons, count=count, stratify=stratify)
        found = replace(fine, skeletons=skeletons).starts(settings.space, results)
        assert len(found) == count
        return max(
            abs(
                sum(candidate.arch[gene] == value for candidate in feasible) / len(feasible)
                - sum(arch[gene] == value for arch in found) / count
            )
            for gene in ('num_stages', 'resolution')
            for value in settings.space.choices[gene].values
        )

    assert worst_share(20, stratify=True) < 0.15
    assert worst_share(50, stratify=True) < 0.15
    assert worst_share(20, stratify=False) > 0.25


def test_glit_takes_the_result_of_its_first_stage() -> None:
    """With one option, for the supernet and the search alike."""
    found = [0, 1, 2, 3] * 3
    options = {'model.architecture.backbone.space.distribution': found}
    for name in ('supernet', 'search'):
        cfg = load_config(str(ROOT / f'configs/glit/{name}_glit_tiny_detail_in1k.py'), options)
        space = SEARCH_SPACES.build(cfg.model.architecture.backbone.space)
        assert space.size() == 9**12
        arch = space.sample(random.Random(0))
        assert [arch[f'blocks.{i}.num_attn_heads'] for i in range(12)] == found


# Running them


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp('data')
    make_demo_data(folder, num_train=8, num_val=4, size=64, seed=0)
    return str(folder / 'imagenet')


def shorten(cfg: Config, data: str) -> Config:
    """Four images, six candidates, the rest as it is."""
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].update(batch_size=4, num_workers=0, persistent_workers=False)
        cfg[f'{split}_dataloader'].dataset.data_root = data
    cfg.val_dataloader.dataset.indices = 2
    cfg.search_cfg.calibration.update(num_images=2, batch_size=2, num_workers=0)
    cfg.search_cfg.calibration.dataset.data_root = data
    for stage in cfg.search_cfg.stages.values():
        stage.update({'budget': 20, 'population': 20} if 'rank_by' in stage else {'budget': 4, 'population': 2})
    cfg.default_hooks.logger.interval = 1
    return cfg


def run(path: str, data: str, folder: Path) -> list[dict]:
    save_weights(str(ROOT / path), folder / 'supernet.pth')
    cfg = shorten(read(path), data)
    cfg.work_dir = str(folder)
    if 'latency_table' in cfg.search_cfg:
        cfg.search_cfg.latency_table = save_table(cfg, folder)
    search(cfg, str(folder / 'supernet.pth'))
    assert (folder / 'best_arch.json').is_file()
    return stored_candidates(folder / 'search.journal')


def save_table(cfg: Config, folder: Path) -> str:
    """What the phone would have measured."""
    backbone = cfg.model.architecture.backbone
    space = SEARCH_SPACES.build(backbone.space)
    workload, model = Workload(space, backbone.backbone, None, 1000), phone(backbone.space.table)
    rng = random.Random(0)
    archs = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(3000))]
    parts = {part.key: part for arch in archs for part in workload.parts(arch)}
    entries = {key: Entry(model.part_latency(part, workload.cost_of(part)).ms, 0.0, 1) for key, part in parts.items()}
    resolutions = space.choices['resolution'].values
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    measured = tuple(Measurement({**space.largest(), 'resolution': side}, 1.0, 0.1, 2) for side in resolutions)
    table = LatencyTable(
        workload=workload.to_config(),
        device=device,
        uncertainty=Uncertainty(residual=0.0, shrink=0.3, repeatability=0.0, speed_spread=0.0),
        entries=entries,
        measurements=measured,
    )
    table.save(folder / 'table.json')
    return str(folder / 'table.json')


@pytest.mark.parametrize(
    'path', [pytest.param(path, marks=() if path in QUICK else pytest.mark.slow) for path in SEARCHES]
)
def test_runs(path: str, data: str, tmp_path: Path) -> None:
    candidates = run(path, data, tmp_path)
    assert len(candidates) == (4 if settings_of(read(path)).budget else 0)
    bounds = settings_of(read(path)).constraints
    assert not any(bound.violations(found['estimates']) for found in candidates for bound in bounds)
