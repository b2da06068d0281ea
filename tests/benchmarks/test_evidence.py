"""Studies of orderings: verdicts of known truth, equal sizes, images by seed, and runs that are killed."""

import csv
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from fresh_python import CONTEXT, environment_of
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, DefaultScope, init_default_scope
from torch import nn

from mmhybrid.apis.configs import load_config
from mmhybrid.archs.base import plain_arch
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import BACKENDS
from mmhybrid.models.build import build_model, on_meta
from mmhybrid.registry import MODELS, SEARCH_SPACES
from mmhybrid.space import Arch

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def evidence(monkeypatch):
    """The modules of the program."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = (
        'verdicts',
        'judges',
        'searches',
        'rows',
        'dense_rows',
        'images',
        'teacher',
        'runs',
        'study',
        'picture',
        'page',
        'run',
    )
    return SimpleNamespace(**{name: import_module(f'evidence.{name}') for name in names})


# Student, "The probable error of a mean" (1908): additional hours of sleep by two drugs, of ten patients. R's
# t.test(paired = TRUE) gives 0.7001142 to 2.4598858 for it.
SECOND_DRUG = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
FIRST_DRUG = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]


def test_the_interval_of_students_own_example(evidence):
    difference = evidence.verdicts.paired_difference(SECOND_DRUG, FIRST_DRUG)
    assert difference.mean == pytest.approx(1.58)
    assert (difference.low, difference.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert difference.count == 10


def test_intervals_are_scipys(evidence):
    stats = pytest.importorskip('scipy.stats')
    a, b = np.random.default_rng(0).normal(50, 3, (2, 7))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = evidence.verdicts.paired_difference(list(a), list(b))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    expected = stats.ttest_1samp(a, 0).confidence_interval(0.95)
    found = evidence.verdicts.interval_of(list(a))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(('difference', 'pairs'), [(0.2, 199), (0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_number_of_seeds_is_that_of_tables(evidence, difference, pairs):
    """Pairs for a two-sided t test at 5 % with a power of .8, by G*Power (Faul et al., 2007)."""
    assert evidence.verdicts.seeds_needed(difference, 1.0) == pairs
    assert evidence.verdicts.seeds_needed(-2 * difference, 2.0) == pairs


def test_no_number_of_seeds_tells_what_is_not_there(evidence):
    verdicts = evidence.verdicts
    assert verdicts.seeds_needed(0.0, 1.0) is None
    assert verdicts.seeds_needed(1.2, 1.0, about_equal=True) is None
    assert verdicts.seeds_needed(0.0, 0.0) is None
    assert verdicts.seeds_needed(0.1, 0.0) == 2


@pytest.mark.parametrize('sd', [1e-14, 1e-4, 1e-3])
def test_a_spread_that_only_rounding_makes_is_none(evidence, sd):
    """Of three scores 0.2 above three others the differences are not equal floats."""
    assert evidence.verdicts.seeds_needed(1.0, sd) == evidence.verdicts.seeds_needed(0.0, sd, about_equal=True) == 2


def studies_of(evidence, ordering, truth: float, sd: float, seeds: int, count: int) -> dict[str, float]:
    """How often each verdict is given of studies of which the truth is known."""
    rng = np.random.default_rng(seeds)
    told = []
    for _ in range(count):
        second = rng.normal(50, 5, seeds)  # what is common to both does not matter
        first = second + rng.normal(truth, sd, seeds)
        difference = evidence.verdicts.paired_difference(first.tolist(), second.tolist())
        told.append(evidence.verdicts.verdict(ordering, difference))
    return {name: told.count(name) / count for name in ('reproduced', 'not reproduced', 'undecided')}


def test_verdicts_of_known_truth(evidence):
    """Five in a hundred are wrong where nothing differs, and eight in ten right with the planned number of seeds."""
    ordering = evidence.verdicts.Ordering('a', 'b')
    nothing = studies_of(evidence, ordering, 0.0, 1.5, 6, 2000)
    assert nothing['undecided'] == pytest.approx(0.95, abs=0.02)
    seeds = evidence.verdicts.seeds_needed(1.0, 1.5)
    ahead = studies_of(evidence, ordering, 1.0, 1.5, seeds, 1000)
    assert ahead['reproduced'] == pytest.approx(0.8, abs=0.04)
    assert ahead['not reproduced'] <= 0.01
    behind = studies_of(evidence, ordering, -1.0, 1.5, seeds, 1000)
    assert behind['not reproduced'] == pytest.approx(0.8, abs=0.04)


def test_verdicts_of_arms_that_are_equal(evidence):
    ordering = evidence.verdicts.Ordering('a', 'b', about_equal=True)
    seeds = evidence.verdicts.seeds_needed(0.0, 1.5, about_equal=True)
    equal = studies_of(evidence, ordering, 0.0, 1.5, seeds, 1000)
    assert equal['reproduced'] == pytest.approx(0.8, abs=0.04)
    a_point = studies_of(evidence, ordering, 1.0, 1.5, seeds, 1000)
    assert a_point['reproduced'] <= 0.025 + 0.015
    assert a_point['not reproduced'] <= 0.025 + 0.015
    far = studies_of(evidence, ordering, 4.0, 1.5, seeds, 100)
    assert far['not reproduced'] == 1


def taus(evidence, truth: float, count: int, draws: int) -> list[dict]:
    """What is found of networks whose true scores are normal with this tau (Greiner: rho = sin(pi / 2 tau))."""
    rho, rng = np.sin(np.pi / 2 * truth), np.random.default_rng(0)
    names = [tuple(f'{way}{number}' for number in range(count)) for way in 'ab']
    claim, told = evidence.verdicts.SameRanks(*names), []
    for _ in range(draws):
        a, b = rng.normal(size=(2, count))
        values = [*a, *(rho * a + np.sqrt(1 - rho**2) * b)]
        told.append(claim.finding({name: [value] for name, value in zip(claim.arms, values, strict=True)}))
    return told


@pytest.mark.parametrize(('truth', 'held'), [(0.0, 0.95), (0.3, 0.95), (0.6, 0.925)])
def test_the_interval_of_tau_holds_the_truth(evidence, truth, held):
    """In as many of 100 samples of twelve networks; unrelated ranks are told to be alike in two or three of 100."""
    found = taus(evidence, truth, 12, 2000)
    assert np.mean([one['low'] <= truth <= one['high'] for one in found]) == pytest.approx(held, abs=0.015)
    if truth == 0:
        assert np.mean([one['verdict'] == 'reproduced' for one in found]) == pytest.approx(0.025, abs=0.01)


def test_the_number_of_networks_decides(evidence):
    needed = evidence.verdicts.networks_needed(0.3)
    reproduced = np.mean([one['verdict'] == 'reproduced' for one in taus(evidence, 0.3, needed, 1000)])
    assert reproduced == pytest.approx(0.8, abs=0.04)
    assert evidence.verdicts.networks_needed(0.0) is None
    assert evidence.verdicts.networks_needed(0.001) is None


def test_ranks_are_those_of_means_over_seeds(evidence):
    """Kendall's tau by SciPy; the page has the ranges, tau, and how many networks would decide."""
    rng = np.random.default_rng(1)
    arms = {f'{way}{number}': rng.normal(50 + number / 2, 1, 3).tolist() for number in range(12) for way in 'ab'}
    claim = evidence.verdicts.SameRanks(*(tuple(name for name in arms if name[0] == way) for way in 'ab'))
    found = evidence.study.findings(arms, [claim])
    means = [[statistics.fmean(arms[name]) for name in names] for names in (claim.first, claim.second)]
    (ranks,) = found['orderings']
    assert ranks['mean'] == pytest.approx(pytest.importorskip('scipy.stats').kendalltau(*means).statistic)
    row = evidence.rows.Row('ranks', 'claim', 'ours', '', {}, (claim,), one_size=False, seeds=3)
    told = evidence.page.render([row], {'ranks': {'findings': found}})
    shown = f'tau {ranks["mean"]:.2f} ({ranks["low"]:.2f} to {ranks["high"]:.2f}) | 3 | **reproduced** |'
    assert f'| {min(means[0]):.1f} to {max(means[0]):.1f}, {min(means[1]):.1f} to {max(means[1]):.1f} | {shown}' in told
    backwards = dict(zip(claim.arms, [*map(arms.get, claim.first), *map(arms.get, claim.second[::-1])], strict=True))
    assert claim.finding(backwards)['verdict'] == 'not reproduced'
    mixed = [*map(arms.get, claim.first), *(arms[claim.second[number * 5 % 12]] for number in range(12))]
    found = evidence.study.findings(dict(zip(claim.arms, mixed, strict=True)), [claim])
    needed = evidence.verdicts.networks_needed(found['orderings'][0]['mean'])
    told = evidence.page.render([row], {'ranks': {'findings': found}})
    assert f'undecided; a tau of this size would take {needed} networks' in told
    assert b'>ranks: ' not in evidence.picture.differences([row], {'ranks': {'findings': found}}).svg_file()


def test_networks_are_the_same_alone_and_in_the_supernet(evidence):
    """Twelve of each family, and the supernet is trained three times as long, its schedule too."""
    rows = [row for row in evidence.rows.ROWS if row.name.startswith('ranks-')]
    assert len(rows) == 3
    for row in rows:
        (claim,) = row.orderings
        assert len({*claim.first}) == len({*claim.second}) == 12
        for shared, alone in zip(claim.first, claim.second, strict=True):
            (network,) = row.arms[shared].judge.archs
            assert network == row.arms[alone].options['model.backbone.arch']
        cfg = load_config(str(evidence.runs.CONFIGS / row.config), row.arms[claim.first[0]].options)
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 60
        space = SEARCH_SPACES.build(cfg.model.architecture.backbone.space)
        assert space.decode(space.encode(network)) == space.arch_class.parse(network)


def test_the_bound_of_the_union_admits_small_networks_alone(evidence):
    """Of 100 networks of the union those within the bound are of the small space, and many of them are."""
    (row,) = [row for row in evidence.rows.ROWS if row.name == 'autovit-union']
    spaces = []
    for arm in row.arms.values():
        cfg = load_config(str(evidence.runs.CONFIGS / row.config), arm.options)
        spaces.append(SEARCH_SPACES.build(cfg.model.architecture.backbone.space))
        assert arm.judge.constraints == {'params_m': {'max': 0.4}}
    small, union = spaces
    rng, within = random.Random(0), []
    for _ in range(100):
        genes = union.sample(rng)
        with on_meta():
            network = MODELS.build({'type': 'AutoViT', 'arch': union.decode(genes)})
        if sum(parameter.numel() for parameter in network.parameters()) <= 400_000:
            within.append(small.contains(genes))
    assert len(within) > 15
    assert all(within)


def test_the_plan_is_for_the_widest_spread(evidence):
    Ordering, study = evidence.verdicts.Ordering, evidence.study
    pilot = {'a': [50.0, 52.0, 51.0], 'b': [49.0, 51.5, 49.5], 'c': [40.0, 45.0, 39.0]}
    spread = statistics.stdev([9.0, 6.5, 10.5])
    planned = study.plan(pilot, [Ordering('a', 'b'), Ordering('b', 'c')], 500)
    assert planned['sd_of_differences']['b > c'] == pytest.approx(spread)
    assert planned['seeds'] == planned['wanted'] == evidence.verdicts.seeds_needed(1.0, spread)
    assert study.plan(pilot, [Ordering('b', 'c')], 8)['seeds'] == 8
    assert study.plan({'a': [1.0, 2.0], 'b': [1.0, 2.0]}, [Ordering('a', 'b')], 12)['seeds'] == 5


def test_the_networks_of_a_row_have_one_size(evidence):
    """Where they are meant to; arms are different ones, and orderings of arms that are there."""
    place = evidence.runs.Place(Path(), Path())
    for row in evidence.rows.ROWS:
        if row.one_size:
            networks = [evidence.runs.Network.of(row, name, place) for name in row.arms]
            evidence.runs.check_sizes([network for network in networks if network.name in row.compared])
            assert len({network.digest for network in networks}) == len(row.arms), row.name
        assert len({str(arm) for arm in row.arms.values()}) == len(row.arms), row.name
        assert {name for one in row.orderings for name in one.arms} == {*row.arms}, row.name
    assert len({row.name for row in evidence.rows.ROWS}) == len(evidence.rows.ROWS)


def test_runs_are_found_again(evidence):
    """A run is kept under a digest of its config: what changes this one runs all of GLMix's rows anew."""
    row, place = evidence.rows.ROWS[0], evidence.runs.Place(Path(), Path())
    digests = [evidence.runs.Network.of(row, name, place).digest for name in row.arms]
    assert digests == ['7ce63f906fc7', 'a86884f34726', '32ae968594df']


def test_the_figures_of_a_note_are_those_of_its_networks(evidence):
    """The transformer-only network of equal size is within 3 %, and the sizes are told; the other is smaller."""
    (row,) = [row for row in evidence.rows.ROWS if row.name == 'autovit-hybrid']
    place = evidence.runs.Place(Path(), Path())
    hybrid, fast, large = (evidence.runs.Network.of(row, name, place) for name in row.arms)
    evidence.runs.check_sizes([hybrid, large])
    assert f'({large.params:,} parameters beside {hybrid.params:,})' in row.note
    assert fast.params < hybrid.params


def test_networks_of_other_sizes_are_refused(evidence):
    row = evidence.rows.ROWS[0]
    smaller = replace(row, arms={**row.arms, 'local': evidence.rows.Arm({'model.backbone.arch.mixers': ['local'] * 4})})
    with pytest.raises(ValueError, match=r'parameters of global: got 6\d{5}, allowed: at most 3% more than'):
        evidence.study.Study(smaller, evidence.runs.Place(Path(), Path('nowhere')), 3, 12)


def write_images(folder: Path, classes: int = 2, count: int = 20, size: tuple[int, int] = (40, 32)) -> Path:
    """Photographs in the layout of Imagenette, each class with a brightness of its own, in files without loss."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        for index in range(count):
            place = folder / ('val' if index % 5 == 0 else 'train') / f'n{label}'
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(rng.normal(60 + 130 * label / classes, 40, (*size[::-1], 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(place / f'{index}.png'), pixels)
    return folder


def test_a_seed_holds_images_out(evidence, tmp_path):
    """All images are in one of the parts, whatever the seed; parts of a seed are the same each time."""
    data = write_images(tmp_path)

    def names(part: str, split: int) -> list[str]:
        images = evidence.images.SplitImages(str(data), part, split, held_out=4, short_side=16)
        return [images.get_data_info(index)['img_path'] for index in range(len(images))]

    held_out, rest = names('held_out', 0), names('train', 0)
    assert (len(held_out), len(rest)) == (8, 32)
    assert not {*held_out} & {*rest}
    assert held_out == names('held_out', 0) != names('held_out', 1)
    images = evidence.images.SplitImages(str(data), 'held_out', 0, held_out=4, short_side=16)
    assert images[0]['img'].shape == (16, 20, 3)
    assert [images[index]['gt_label'] for index in range(8)] == [0] * 4 + [1] * 4
    assert images.metainfo['classes'] == ('n0', 'n1')
    images[0]['img'][:] = 0  # of a copy
    assert images[0]['img'].any()
    with pytest.raises(ValueError, match='held_out: got 20, allowed: fewer than the 20 images of n0'):
        evidence.images.SplitImages(str(data), 'train', 0, held_out=20, short_side=16)
    with pytest.raises(ValueError, match=r'data_root: .* allowed: a folder with images in train, val'):
        evidence.images.SplitImages(str(tmp_path / 'train'), 'train', 0, held_out=1, short_side=16)


def test_the_teacher_knows_imagenettes_classes(monkeypatch):
    """By the names that fast.ai gives them, in MMPretrain's list of ImageNet's."""
    names = ['tench', 'English springer', 'cassette player', 'chain saw', 'church', 'French horn', 'garbage truck']
    names += ['gas pump', 'golf ball', 'parachute']
    categories = import_module('mmpretrain.datasets.categories').IMAGENET_CATEGORIES
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    classes = import_module('_imagenette').CLASSES
    assert list(classes) == sorted(classes)
    for name, number in zip(names, classes.values(), strict=True):
        assert name in categories[number]


TOY = """
custom_imports = dict(imports=['mmhybrid', 'evidence.images'], allow_failed_imports=False)
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmhybrid.GLNet', drop_path_rate=0.1, arch=dict(
        embed_dims=[32] * 4, depths=[1] * 4, ffn_ratios=[1] * 4, mixers=['glmix', 'local', 'local', 'mhsa'])),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=32, topk=(1,)))
data_preprocessor = dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True)
images = dict(type='SplitImages', data_root='', split=0, held_out=5, short_side=32)
train_dataloader = dict(batch_size=8, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset=dict(
    **images, part='train', pipeline=[dict(type='RandomCrop', crop_size=32), dict(type='PackInputs')]))
test_dataloader = dict(batch_size=5, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
    **images, part='held_out', pipeline=[dict(type='CenterCrop', crop_size=32), dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=(1,))
test_cfg = dict()
train_cfg = dict(type='mmhybrid.ResumableEpochLoop', max_epochs=3)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', interval=1, max_keep_ckpts=1))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
log_level = 'WARNING'
"""


@pytest.fixture
def toy(evidence, tmp_path):
    """A row of two small networks, and where it takes place."""
    (tmp_path / 'toy.py').write_text(TOY)
    arms = {
        'glmix': evidence.rows.Arm(),
        'one kernel of 3': evidence.rows.Arm({'model.backbone.arch.local_kernels': [5, 3, 5, 5]}),
    }
    orderings = (evidence.verdicts.Ordering('glmix', 'one kernel of 3', 0.1),)
    row = evidence.rows.Row('toy', 'toys', 'nowhere', str(tmp_path / 'toy.py'), arms, orderings, 'A toy.')
    return row, evidence.runs.Place(write_images(tmp_path / 'images'), tmp_path / 'out')


def perform(benchmarks: str, config: str, data: Path, studies: dict[Path, list[int]]) -> None:
    """Run a toy's network with some seeds in each folder; in a process of its own, which its training may kill."""
    sys.path.insert(0, benchmarks)

    @HOOKS.register_module()
    class KillStudy(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            order = Path(runner.work_dir).parents[2] / 'kill'
            if runner.seed == 1 and runner.iter == 9 and order.exists():
                order.unlink()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(100)

    rows, runs = import_module('evidence.rows'), import_module('evidence.runs')
    arm = rows.Arm({'custom_hooks': [{'type': 'KillStudy'}]})
    row = rows.Row('toy', '', '', config, {'toy': arm}, ())
    for folder, seeds in studies.items():
        place = runs.Place(data, folder)
        network = runs.Network.of(row, 'toy', place)
        for _ in runs.perform([runs.Run(network, seed, place) for seed in seeds]):
            pass


def score_judged(benchmarks: str, config: str, data: Path, folder: Path, options: dict[str, dict]) -> None:
    """Train a toy's network, and score it with other settings; in a process of its own."""
    sys.path.insert(0, benchmarks)
    judges, rows, runs = (import_module(f'evidence.{name}') for name in ('judges', 'rows', 'runs'))
    judged = {name: rows.Arm(judge=judges.OtherSettings(settings)) for name, settings in options.items()}
    row, place = rows.Row('toy', '', '', config, {'as trained': rows.Arm(), **judged}, ()), runs.Place(data, folder)
    done = list(runs.perform([runs.Run(runs.Network.of(row, name, place), 0, place) for name in row.arms]))
    scores = {run.network.name: run.result['score'] for run in done}
    (folder / 'scores.json').write_text(json.dumps(scores))


def test_what_is_trained_once_is_judged_with_other_settings(evidence, toy):
    """A network with fewer slots scores what one does that is built with them and loads the weights."""
    row, place = toy
    slots, dark = {'model.backbone.arch.num_slots': [4, 4, 4, 4]}, {'data_preprocessor.mean': [1e6] * 3}
    arguments = (str(BENCHMARKS), row.config, place.data, place.folder, {'fewer slots': slots, 'in the dark': dark})
    process = CONTEXT.Process(target=score_judged, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    scores = json.loads((place.folder / 'scores.json').read_text())
    assert [*scores] == ['training', 'as trained', 'fewer slots', 'in the dark']
    assert scores['as trained'] == scores['training'] > scores['in the dark'] == 50
    (weights,) = place.folder.rglob('weights.pt')
    (trained,) = {path.parents[2] for path in place.folder.rglob('scalars.json')}
    assert trained == weights.parent

    model = build_model(load_config(row.config, slots))
    model.load_state_dict(torch.load(weights)['state_dict'])
    assert scores['fewer slots'] == accuracy(model, row.config, place.data)


def accuracy(model: nn.Module, config: str, data: Path, images: slice = slice(None)) -> float:
    """Of a classifier on images that a config holds out, in percent."""
    model.eval()
    right = [
        model.test_step(pseudo_collate([image]))[0].pred_label.item() == image['data_samples'].gt_label.item()
        for image in images_of(config, data, 'held_out')[images]
    ]
    return 100 * statistics.fmean(right)


def images_of(config: str, data: Path, part: str) -> list[dict]:
    """As a toy's network is judged on them."""
    dataset = {**load_config(config).test_dataloader.dataset, 'data_root': str(data), 'part': part}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return list(DATASETS.build(dataset))


TOY_SUPERNET = """
_base_ = ['./toy.py']
supernet = dict(
    type='mmhybrid.Supernet', backbone=dict(type='mmhybrid.GLNet'),
    space=dict(type='mmhybrid.GLNetSpace', around={**_base_.model.backbone.arch}))
model = dict(
    _delete_=True, type='mmhybrid.OneShot', mutator=dict(type='mmhybrid.UniformMutator'),
    architecture={**_base_.model, 'backbone': supernet})
find_unused_parameters = True
"""


def score_started(benchmarks: str, folder: Path, data: Path) -> None:
    """A toy's supernet that begins as its network and learns nothing, each subnet alone and both together."""
    sys.path.insert(0, benchmarks)
    judges, rows, runs = (import_module(f'evidence.{name}') for name in ('judges', 'rows', 'runs'))
    still, start = {'optim_wrapper.optimizer.lr': 0.0}, rows.Arm(config=str(folder / 'toy.py'))
    judged = {'smallest': ('smallest',), 'largest': ('largest',), 'both': ('smallest', 'largest')}
    arms = {name: rows.Arm(still, judge=judges.Subnets(archs), start=start) for name, archs in judged.items()}
    row = rows.Row('toy', '', '', str(folder / 'supernet.py'), arms, ())
    place = runs.Place(data, folder / 'out', options={'train_cfg.max_epochs': 1})
    done = list(runs.perform([runs.Run(runs.Network.of(row, name, place), 0, place) for name in row.arms]))
    told = [(run.network.name, run.result['score'], str(run.folder)) for run in done]
    (folder / 'told.json').write_text(json.dumps(told))


def test_a_supernet_begins_as_the_network_that_was_trained_before(toy, tmp_path):
    """Where it learns nothing, its largest subnet is that network with the supernet's head."""
    row, place = toy
    (tmp_path / 'supernet.py').write_text(TOY_SUPERNET)
    process = CONTEXT.Process(target=score_started, args=(str(BENCHMARKS), tmp_path, place.data))
    process.start()
    process.join()
    assert process.exitcode == 0
    told = json.loads((tmp_path / 'told.json').read_text())
    assert [name for name, *_ in told] == ['start', 'training', 'smallest', 'largest', 'both']
    scores = {name: score for name, score, _ in told}
    assert scores['both'] == statistics.fmean([scores['smallest'], scores['largest']])
    alone, supernet = (torch.load(Path(folder, 'weights.pt'))['state_dict'] for *_, folder in told[:2])
    model = build_model(load_config(row.config))
    head = {name: supernet[f'architecture.{name}'] for name in alone if name.startswith('head.')}
    model.load_state_dict(alone | head)
    assert any((alone[name] != tensor).any() for name, tensor in head.items())
    model.eval()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True
    with torch.no_grad():  # all training images make one batch
        batch = pseudo_collate(images_of(row.config, place.data, 'train'))
        model(model.data_preprocessor(batch)['inputs'], mode='tensor')
    assert scores['largest'] == accuracy(model, row.config, place.data)


def score_searched(benchmarks: str, folder: Path, data: Path) -> None:
    """A search over a toy's supernet, the same again without its score, and its best network by itself."""
    sys.path.insert(0, benchmarks)
    judges, searches, rows, runs = (
        import_module(f'evidence.{name}') for name in ('judges', 'searches', 'rows', 'runs')
    )
    stages = {'random': {'sampler': {'type': 'RandomSampler'}, 'budget': 4, 'population': 2}}
    arm = rows.Arm(judge=searches.Search(stages, {'params_m': {'max': 1.0}}))
    row = rows.Row('toy', '', '', str(folder / 'supernet.py'), {'search': arm}, ())
    place = runs.Place(data, folder / 'out', options={'train_cfg.max_epochs': 1})
    run = runs.Run(runs.Network.of(row, 'search', place), 0, place)
    told: list[dict | str] = []
    for _ in range(2):
        (run.folder / 'score.json').unlink(missing_ok=True)
        *_, done = runs.perform([run])
        told.append(done.result)
    cfg = run.config()
    cfg.test_dataloader.dataset.indices = [1, 3, 5, 7, 9]
    best = json.loads((run.folder / 'best_arch.json').read_text())
    space = SEARCH_SPACES.build(best['space'])
    best = plain_arch(space.decode(space.canonical(best['arch'])))
    alone = judges.Subnets((best,)).score(cfg, str(run.first.folder / 'weights.pt'))
    (folder / 'told.json').write_text(json.dumps([*told, alone, str(run.folder)]))


def test_what_a_search_finds_is_scored_by_other_images(toy, tmp_path):
    """By those that it has not seen; run again, it judges nothing twice."""
    _, place = toy
    (tmp_path / 'supernet.py').write_text(TOY_SUPERNET)
    process = CONTEXT.Process(target=score_searched, args=(str(BENCHMARKS), tmp_path, place.data))
    process.start()
    process.join()
    assert process.exitcode == 0
    first, again, alone, folder = json.loads((tmp_path / 'told.json').read_text())
    assert first['score'] == again['score'] == alone
    operations = [json.loads(line) for line in Path(folder, 'search.journal').read_text().splitlines()]
    assert sum('value' in operation for operation in operations) == 4


def score_within_latency(benchmarks: str, folder: Path, data: Path) -> None:
    """Searches over a toy's supernet on a runtime whose milliseconds are known, one of them twice."""
    sys.path.insert(0, benchmarks)
    judges, latency, rows, runs = (import_module(f'evidence.{name}') for name in ('judges', 'latency', 'rows', 'runs'))

    class Clockwork(BACKENDS['onnxruntime']):
        """Takes a millisecond for 100,000 parameters, and half of it for all once the table is there."""

        @classmethod
        def export(cls, network: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> bytes:
            return str(sum(parameter.numel() for parameter in network.parameters())).encode()

        def load(self, content: bytes, images: torch.Tensor) -> float:
            return int(content) / 1e5

        def times(self, job: float, runs: int) -> list[float]:
            return [job / 2 if list((folder / 'out').rglob(latency.TABLE)) else job] * runs

    BACKENDS['onnxruntime'] = Clockwork
    stages = {'random': {'sampler': {'type': 'RandomSampler'}, 'budget': 8, 'population': 8}}
    limits = {'latency': (('latency_ms', 0.5),), 'macs': (('macs_m', 0.5), ('macs_m', 0.9))}
    arms = {
        name: rows.Arm(judge=latency.WithinLatency(stages, limit, 0.5, count=2, networks=12))
        for name, limit in limits.items()
    }
    row = rows.Row('toy', '', '', str(folder / 'supernet.py'), arms, ())
    options = {'train_cfg.max_epochs': 1, 'optim_wrapper.optimizer.lr': 0.0}  # so that networks differ
    place = runs.Place(data, folder / 'out', options=options)
    told = []
    for name in ('latency', 'macs', 'macs'):
        run = runs.Run(runs.Network.of(row, name, place), 0, place)
        (run.folder / 'score.json').unlink(missing_ok=True)
        *_, done = runs.perform([run])
        found = json.loads((run.folder / latency.FOUND).read_text())
        (table,) = (folder / 'out').rglob(latency.TABLE)
        told.append(
            {'score': done.result['score'], **found, 'folder': str(run.folder), 'when': table.stat().st_mtime_ns}
        )
    cfg = run.config()
    cfg.test_dataloader.dataset.indices = [1, 3, 5, 7, 9]
    weights = str(run.first.folder / 'weights.pt')
    for one in told:
        most = next(limit['max'] for limit in one['limits'] if limit['estimate'] == 'latency_ms')
        kept = [network['arch'] for network in one['measured'] if network['measured_ms'] <= most]
        one['alone'] = statistics.fmean(
            judges.subnet_evaluator(cfg, weights)(Arch(arch))['accuracy/top1'] for arch in kept
        )
    (folder / 'told.json').write_text(json.dumps(told))


def test_searches_are_compared_at_the_latency_that_is_measured(evidence, toy, tmp_path):
    """The best of what they find that keep the median of the space; the table is measured once for all arms."""
    pytest.importorskip('onnxscript')
    _, place = toy
    (tmp_path / 'supernet.py').write_text(TOY_SUPERNET)
    process = CONTEXT.Process(target=score_within_latency, args=(str(BENCHMARKS), tmp_path, place.data))
    process.start()
    process.join()
    assert process.exitcode == 0
    told = json.loads((tmp_path / 'told.json').read_text())
    assert told[1] == told[2]
    assert told[0]['when'] == told[1]['when']
    cfg = load_config(str(tmp_path / 'supernet.py'))
    workload = Workload.of_model(cfg.model, 32)
    rng = random.Random(0)
    median = np.median([workload.params(workload.space.sample(rng)) / 1e5 for _ in range(1000)])
    for arm, names in zip(told, (['latency_ms'], ['macs_m', 'macs_m', 'latency_ms']), strict=False):
        assert [limit['estimate'] for limit in arm['limits']] == names
        assert arm['limits'][-1]['max'] == pytest.approx(median, rel=0.03)
        for network in arm['measured']:
            assert network['measured_ms'] == pytest.approx(workload.params(Arch(network['arch'])) / 1e5, rel=1e-6)
        within = [network['measured_ms'] <= arm['limits'][-1]['max'] for network in arm['measured']]
        assert sum(within) == 2
        assert within[-1]
        assert arm['score'] == arm['alone']
        scores = [network['accuracy/top1'] for network in arm['measured']]
        found = {
            line['arch']: float(line['accuracy/top1'])
            for file in Path(arm['folder']).glob('*/topk.csv')
            for line in csv.DictReader(file.read_text().splitlines())
        }
        assert scores == sorted(found.values(), reverse=True)[: len(scores)]


TOY_GLIT = """
_base_ = ['./toy.py']
supernet = dict(
    type='mmhybrid.Supernet', backbone=dict(type='mmhybrid.GLiT', img_size=32, patch_size=8),
    space=dict(
        type='mmhybrid.GLiTSpace', embed_dims=24, num_heads=3, num_blocks=2, level='distribution',
        candidates=dict(kernel_size=[3, 5], mlp_ratio=[1, 2]),
        fixed=dict(mlp_ratio=2, qkv_ratio=1, conv_ratio=2, kernel_size=3)))
model = dict(
    _delete_=True, type='mmhybrid.OneShot', mutator=dict(type='mmhybrid.UniformMutator'),
    architecture=dict(
        type='ImageClassifier', backbone=supernet,
        head=dict(type='VisionTransformerClsHead', num_classes=2, in_channels=24, topk=(1,))))
param_scheduler = [dict(type='CosineAnnealingLR', begin=0, end=3, convert_to_iter_based=True)]
find_unused_parameters = True
"""


def score_retrained(benchmarks: str, folder: Path, data: Path) -> None:
    """Search over a toy's supernet of distributions and one of details, and train two networks alone."""
    sys.path.insert(0, benchmarks)
    searches, rows, runs = (import_module(f'evidence.{name}') for name in ('searches', 'rows', 'runs'))
    stages = {'random': {'sampler': {'type': 'RandomSampler'}, 'budget': 4, 'population': 2}}
    judge = searches.Retrained(stages, {'macs_m': {'max': 100.0}}, 2, 2, hierarchical=True)
    row = rows.Row('toy', '', '', str(folder / 'glit.py'), {'toy': rows.Arm(judge=judge)}, ())
    place = runs.Place(data, folder / 'out')
    run = runs.Run(runs.Network.of(row, 'toy', place), 0, place)
    list(runs.perform([run.first]))
    init_default_scope('mmpretrain')
    score = judge.score(run.config(), str(run.first.folder / 'weights.pt'))
    (folder / 'told.json').write_text(json.dumps([score, str(run.folder)]))


def test_what_a_hierarchical_search_finds_is_trained_alone(toy, tmp_path):
    """Its networks have the heads that the first search found; the one that half of the images choose is tested."""
    row, place = toy
    (tmp_path / 'glit.py').write_text(TOY_GLIT)
    process = CONTEXT.Process(target=score_retrained, args=(str(BENCHMARKS), tmp_path, place.data))
    process.start()
    process.join()
    assert process.exitcode == 0
    score, folder = json.loads((tmp_path / 'told.json').read_text())
    first = json.loads(Path(folder, 'best_arch.json').read_text())
    heads = [first['arch'][f'blocks.{number}.num_attn_heads'] for number in range(2)]
    networks = sorted(Path(folder, 'detail').glob('network_*'))
    assert [path.name for path in networks] == ['network_0', 'network_1']
    scores = []
    for path in networks:
        cfg = load_config(str(path / 'glit.py'))
        assert [block['num_attn_heads'] for block in cfg.model.backbone.arch.blocks] == heads
        assert cfg.model.type == 'ImageClassifier'
        assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].end == 2
        model = build_model(cfg)
        model.load_state_dict(torch.load(path / 'epoch_2.pth', weights_only=False)['state_dict'])
        scores.append([accuracy(model, row.config, place.data, slice(half, None, 2)) for half in (0, 1)])
    assert score == max(scores, key=lambda pair: pair[0])[1]


def test_a_search_and_its_test_share_no_image(evidence, toy):
    row, place = toy
    cfg = load_config(row.config)
    cfg.test_dataloader.dataset.data_root = str(place.data)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loaders = (evidence.searches.hold_out_of_search(cfg), cfg.test_dataloader)
        parts = [DATASETS.build(loader['dataset']) for loader in loaders]
    names = [{part.get_data_info(number)['img_path'] for number in range(len(part))} for part in parts]
    assert [len(part) for part in names] == [5, 5]
    assert not names[0] & names[1]
    labels = [[part.get_data_info(number)['gt_label'] for number in range(len(part))] for part in parts]
    assert labels == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]


def losses(run: Path) -> list[tuple[int, float]]:
    """Of the iterations that a run logged, with their numbers; some are there twice where it was killed."""
    files = sorted(run.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [(line['step'], line['loss']) for line in lines if 'loss' in line]


def test_a_killed_study_goes_on(toy):
    """In the middle of an epoch, with the losses of one that was not disturbed; what has ended does not run again."""
    row, place = toy

    def perform_apart(studies: dict[Path, list[int]]) -> int:
        process = CONTEXT.Process(target=perform, args=(str(BENCHMARKS), row.config, place.data, studies))
        process.start()
        process.join()
        return process.exitcode

    killed, undisturbed = place.folder / 'killed', place.folder / 'undisturbed'
    killed.mkdir(parents=True)
    (killed / 'kill').touch()
    assert perform_apart({killed: [1]}) == -signal.SIGKILL
    ((digest, second),) = [(path, path / '1') for path in (killed / 'runs').iterdir()]
    assert not (second / 'score.json').exists()
    logged = losses(second)
    first = digest / '0'
    first.mkdir()
    (first / 'score.json').write_text('{"score": 50.0, "seconds": 1.0}')
    assert perform_apart({killed: [0, 1], undisturbed: [1]}) == 0
    assert [path.name for path in first.iterdir()] == ['score.json']
    assert not list(second.glob('*.pth'))
    other = undisturbed / 'runs' / digest.name / '1'
    before = [step for step, _ in logged]
    assert before == [*range(1, 10)]  # the tenth was not logged any more
    again = [step for step, _ in losses(second)[len(before) :]]
    assert again == [*range(9, 13)]  # from the end of the second epoch
    assert dict(losses(second)) == dict(losses(other))
    scores = [json.loads((run / 'score.json').read_text())['score'] for run in (second, other)]
    assert scores[0] == scores[1]


def test_a_study_is_told_as_it_was_found(evidence, toy, tmp_path, monkeypatch, capsys):
    """Pilot, plan, seeds, file and table, of scores that are made up; what is recorded is what the file holds."""
    row, place = toy
    made_up = {'glmix': 61.0, 'one kernel of 3': 60.0}
    rng = np.random.default_rng(0)

    def perform(runs):
        for run in runs:
            done = run.folder / 'score.json'
            if not done.exists():
                done.parent.mkdir(parents=True)
                done.write_text(json.dumps({'score': made_up[run.network.name] + rng.normal(0, 0.7), 'seconds': 1.0}))
            yield run

    monkeypatch.setattr(evidence.study, 'perform', perform)
    monkeypatch.setattr(evidence.run, 'RESULTS', tmp_path / 'evidence')
    monkeypatch.setattr(evidence.run, 'PAGE', tmp_path / 'page.md')
    (tmp_path / 'page.md').write_text(f'before\n{evidence.page.BEGIN}\nold\n{evidence.page.END}\nafter\n')
    arguments = ['toy', '--data', str(place.data), '--dir', str(place.folder), '--device', 'cpu']
    monkeypatch.setattr(evidence.run, 'ROWS', (row,))
    evidence.run.main([*arguments, '--record', '--seeds', '40'])
    study = json.loads((tmp_path / 'evidence/toy.json').read_text())
    assert study == json.loads((place.folder / 'toy.json').read_text())
    pilot = [a - b for a, b in zip(*study['pilot_scores'].values(), strict=True)]
    assert study['plan']['seeds'] == max(evidence.verdicts.seeds_needed(1.0, statistics.stdev(pilot)), 5)
    scores = study['scores']
    assert {len(of_arm) for of_arm in scores.values()} == {study['plan']['seeds']}
    assert not {*scores['glmix']} & {*study['pilot_scores']['glmix']}
    (found,) = study['findings']['orderings']
    stats = pytest.importorskip('scipy.stats')
    expected = stats.ttest_rel(scores['glmix'], scores['one kernel of 3']).confidence_interval()
    assert (found['low'], found['high']) == pytest.approx((expected.low, expected.high))
    assert found['verdict'] == ('reproduced' if expected.low > 0 else 'undecided')
    page = (tmp_path / 'page.md').read_text()
    assert page.startswith('before\n')
    assert page.endswith('after\n')
    assert 'old' not in page
    assert f'{found["mean"]:+.1f} ({found["low"]:+.1f} to {found["high"]:+.1f}) | {study["plan"]["seeds"]} |' in page
    assert '- `toy`: A toy.' in page
    assert '](evidence/differences.svg)' in page
    picture = ElementTree.fromstring((tmp_path / 'evidence/differences.svg').read_text())
    drawn = [title.text for title in picture.iter('{http://www.w3.org/2000/svg}title')]
    assert drawn == [f'toy: glmix > one kernel of 3: {told(found)}']

    evidence.run.main([*arguments, '--rerun', '3', '--seeds', '40'])
    assert capsys.readouterr().out.count(f'{scores["glmix"][3]:.2f}, recorded: {scores["glmix"][3]:.2f}') == 1
    with pytest.raises(SystemExit):
        evidence.run.main([*arguments, '--seeds', '41'])
    assert 'another study: at_most was 40, now 41; give another --dir' in capsys.readouterr().err


def told(found: dict) -> str:
    return f'{found["mean"]:+.2f} ({found["low"]:+.2f} to {found["high"]:+.2f}), {found["verdict"]}'


@pytest.mark.parametrize(
    ('arguments', 'mistake'),
    [
        (['glmix'], 'ROW: got glmix, allowed: glmix-branches, '),
        (['--rerun', '-1'], '--rerun: got -1, allowed: an int >= 0'),
        (['--pilot', '1'], '--pilot: got 1, allowed: an int >= 2, for a spread'),
        (['--record', '--cfg-options', 'train_cfg.max_epochs=1'], '--record: allowed without --cfg-options'),
    ],
)
def test_mistakes_are_told_before_anything_runs(evidence, capsys, arguments, mistake):
    with pytest.raises(SystemExit) as ended:
        evidence.run.main(arguments)
    assert ended.value.code == 2
    assert mistake in capsys.readouterr().err


def test_the_page_has_the_recorded_studies(evidence):
    page = evidence.page
    _, _, rest = page.PAGE.read_text().partition(page.BEGIN)
    table = page.render(evidence.rows.ROWS, page.read_studies(page.RESULTS), evidence.rows.ELSEWHERE)
    assert rest.partition(page.END)[0] == f'\n\n{table}\n'


def test_claims_that_other_programs_try_have_the_figures_of_their_section(evidence):
    """The link leads to a section, and each figure of the line is there."""
    page = evidence.page.PAGE.read_text()
    (resolution,) = evidence.rows.ELSEWHERE
    title, _, anchor = resolution.where.strip('[)').partition('](#')
    assert anchor == title.lower().replace(' ', '-')
    section = page.partition(f'### {title}\n')[2].partition('\n## ')[0]
    rows = {line.split(' | ')[0].strip('| '): line.split(' | ')[-1] for line in section.splitlines() if ' | ' in line}
    for network, (_, found, _) in zip(('GLNet-STL', 'GLNet-4G'), resolution.found, strict=True):
        power = found.removeprefix('power ').replace(' .', ' 0.').replace('(.', '(0.')
        assert ('0' + power if power.startswith('.') else power) in rows[network]


def test_undecided_orderings_say_how_many_seeds_would_decide(evidence, toy):
    row, _ = toy
    scores = {'glmix': [60.0, 62.0, 61.5, 60.2, 61.1], 'one kernel of 3': [60.2, 61.0, 61.9, 59.5, 60.9]}
    found = evidence.study.findings(scores, row.orderings)
    (ordering,) = found['orderings']
    needed = evidence.verdicts.seeds_needed(ordering['mean'], ordering['sd'])
    assert ordering['verdict'] == 'undecided'
    assert ordering['seeds_needed'] == needed > 5
    told = evidence.page.render([row], {'toy': {'findings': found}})
    assert f'undecided; a difference of this size would take {needed} seeds' in told
    reverse = {'glmix': [50.0, 51.0, 50.5], 'one kernel of 3': [55.0, 56.1, 55.4]}
    assert '**not reproduced**' in evidence.page.render(
        [row], {'toy': {'findings': evidence.study.findings(reverse, row.orderings)}}
    )


SMALL = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=8', 'train_dataloader.dataset.indices=16']
SMALL += [f'{loader}_dataloader.dataset.held_out=3' for loader in ('train', 'test')]


def run_program(folder: Path, *arguments: str) -> str:
    """What the program says of ten classes of small images, each network trained for two iterations."""
    data = folder / 'images'
    if not data.exists():
        write_images(data, classes=10, count=8, size=(80, 70))
    program = [sys.executable, str(BENCHMARKS / 'evidence/run.py'), *arguments, '--device', 'cpu']
    program += ['--data', str(data), '--dir', str(folder / 'out'), '--cfg-options', *SMALL]
    done = subprocess.run(program, capture_output=True, text=True, env=environment_of())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_row_from_end_to_end(tmp_path):
    """And again, where nothing is left to do."""
    arguments = ('glmix-branches', '--seeds', '2', '--pilot', '2', '--jobs', '2')
    told = run_program(tmp_path, *arguments)
    study = json.loads((tmp_path / 'out/glmix-branches.json').read_text())
    assert study['plan']['seeds'] == 2
    assert {name: len(scores) for name, scores in study['scores'].items()} == {
        'local + global': 2,
        'local': 2,
        'global': 2,
    }
    assert [found['ordering'] for found in study['findings']['orderings']] == [
        'local + global > local',
        'local > global',
    ]
    assert study['about']['trial_options']['train_cfg.max_epochs'] == 1
    whens = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('score.json')}
    assert len(whens) == 3 * 4
    again = run_program(tmp_path, *arguments)
    assert whens == {path: path.stat().st_mtime_ns for path in tmp_path.rglob('score.json')}
    assert again.partition('| claim')[2] == told.partition('| claim')[2] != ''


@pytest.mark.slow
def test_every_network_of_every_row_starts(evidence, tmp_path):
    """With the teacher's published weights, where it has one; of the many networks of ranks see above.

    Those of dense tasks are started by test_evidence_dense.py.
    """
    rows = [
        row
        for row in evidence.rows.ROWS
        if not row.name.startswith('ranks-') and row not in evidence.dense_rows.DENSE_ROWS
    ]
    told = run_program(tmp_path, *(row.name for row in rows), '--rerun', '0')
    for row in rows:
        for name in row.arms:
            assert f'{row.name}, {name}, seed 0: ' in told
