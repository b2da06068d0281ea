"""Networks of a search trained by themselves, on generated data."""

import inspect
import json
import os
import socket
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch
from fresh_python import CONTEXT
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from retraining_demo import invented, make_finished_search, read, unformatted

from mmhybrid.apis.epochs import check_counts_epochs, rescale_epochs
from mmhybrid.apis.network_files import name_of
from mmhybrid.apis.retraining_record import Retrained
from mmhybrid.commands.shared.retraining import add_retraining_arguments, retraining_of, search_of
from mmhybrid.engine.resume import ResumableEpochLoop
from mmhybrid.models.checkpoints import load_local
from mmhybrid.search import SearchError

ROOT = Path(__file__).resolve().parents[2]
ITERATIONS = 6  # of a network: 24 images in batches of 8, two epochs


def retrain(arguments: list[str], out: Path, *more: str, **budget: Any) -> list[Retrained]:
    parser = ArgumentParser()
    add_retraining_arguments(parser, 2, 'retrained')
    args = parser.parse_args([*arguments, '--out-dir', str(out), *more])
    found = search_of(args)
    return retraining_of(args, found.settings, **budget).run(found.top(args.count))


@pytest.fixture(scope='module')
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_finished_search(tmp_path_factory.mktemp('retraining'))


@pytest.fixture(scope='module')
def whole(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks trained without interruption."""
    folder = tmp_path_factory.mktemp('whole')
    retrain(arguments, folder)
    return folder


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Iterations trained so far, and at which one the program is stopped."""
    state: list[int | None] = [0, None]
    original = ResumableEpochLoop.run_iter

    def run_iter(loop: ResumableEpochLoop, *batch: Any) -> None:
        if state[0] == state[1]:
            raise KeyboardInterrupt
        state[0] += 1
        original(loop, *batch)

    monkeypatch.setattr(ResumableEpochLoop, 'run_iter', run_iter)
    return state


def weights_in(folder: Path, network: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_local(folder / network['checkpoint'], 'cpu')['state_dict']


def test_the_record_tells_what_was_trained(arguments: list[str], whole: Path) -> None:
    networks = read(whole / 'networks.json')['networks']
    assert [network['supernet_score'] for network in networks] == [invented(network['arch']) for network in networks]
    assert networks[0]['supernet_score'] > networks[1]['supernet_score']
    for network in networks:
        cfg = Config.fromfile(whole / network['config'])
        cfg.work_dir = str(whole / 'check')
        cfg.load_from = str(whole / network['checkpoint'])
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        assert Runner.from_cfg(cfg).test()['accuracy/top1'] == network['retrained_score']


def test_interrupted_and_continued_is_as_uninterrupted(
    arguments: list[str], whole: Path, tmp_path: Path, steps: list[int | None]
) -> None:
    """Between two networks, then in the middle of the second, an epoch and two iterations later."""
    for stop in (ITERATIONS, 5):
        steps[:] = [0, stop]
        with pytest.raises(KeyboardInterrupt):
            retrain(arguments, tmp_path)
        assert len(read(tmp_path / 'networks.json')['networks']) == 1
    steps[:] = [0, None]
    retrain(arguments, tmp_path)
    assert steps[0] == 3
    assert read(tmp_path / 'networks.json') == read(whole / 'networks.json')
    for network in read(whole / 'networks.json')['networks']:
        expected, found = weights_in(whole, network), weights_in(tmp_path, network)
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_trained_but_not_judged_is_only_judged(
    arguments: list[str], whole: Path, tmp_path: Path, steps: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(runner: Runner) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Runner, 'test', stop)
        with pytest.raises(KeyboardInterrupt):
            retrain(arguments, tmp_path, '--count', '1')
    assert steps[0] == ITERATIONS
    (network,) = retrain(arguments, tmp_path, '--count', '1')
    assert steps[0] == ITERATIONS
    assert network.retrained_score == read(whole / 'networks.json')['networks'][0]['retrained_score']


def test_more_networks_are_added_and_the_folder_may_be_moved(
    arguments: list[str], whole: Path, tmp_path: Path, steps: list[int | None]
) -> None:
    retrain(arguments, tmp_path / 'a', '--count', '1')
    (tmp_path / 'a').rename(tmp_path / 'b')
    networks = retrain(arguments, tmp_path / 'b')
    assert steps[0] == 2 * ITERATIONS
    assert read(tmp_path / 'b/networks.json') == read(whole / 'networks.json')
    assert all(Path(network.checkpoint).is_file() and Path(network.config).is_file() for network in networks)


def still_recipe(arguments: list[str], path: Path) -> list[str]:
    """The options that train by a recipe of its own, which learns nothing."""
    bases = [str(ROOT / f'configs/_base_/demo/{name}.py') for name in ('cls', 'runtime')]
    path.write_text(f"""
_base_ = {bases!r}
root = {str(Path(arguments[0]).parent / 'data/imagenet')!r}
loader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
model = dict(
    backbone=dict(type='mmhybrid.AutoViT', arch='xxs'), neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=480),
)
optim_wrapper = dict(optimizer=dict(lr=0.0))
""")
    return ['--recipe', str(path)]


@pytest.mark.parametrize('with_recipe', [False, True])
@pytest.mark.parametrize('start', ['weights', 'scratch'])
def test_it_starts_from_what_it_is_told(arguments: list[str], tmp_path: Path, start: str, with_recipe: bool) -> None:
    """Without learning, the weights at the end are those of the start."""
    more = ['--cfg-options', 'optim_wrapper.optimizer.lr=0.0']
    if with_recipe:
        more = still_recipe(arguments, tmp_path / 'recipe.py')
    (network,) = retrain(arguments, tmp_path / 'out', '--count', '1', *more, start=start, epochs=1)
    assert Path(network.config).stem == (f'{network.name}_recipe' if with_recipe else network.name)
    exported = load_local(tmp_path / f'out/{network.name}/{network.name}.pth', 'cpu')['state_dict']
    trained = load_local(network.checkpoint, 'cpu')['state_dict']
    name = 'head.fc.weight'
    assert torch.equal(exported[name], trained[name]) == (start == 'weights')


def test_no_config_is_run_that_lay_in_the_folder(arguments: list[str], tmp_path: Path) -> None:
    """It may have come with the search, from others."""
    parser = ArgumentParser()
    add_retraining_arguments(parser, 1, 'retrained')
    args = parser.parse_args([*arguments, '--out-dir', str(tmp_path / 'out')])
    found = search_of(args)
    (candidate,) = found.top(1)
    name = name_of(candidate.arch)
    (tmp_path / 'out' / name).mkdir(parents=True)
    program = f'open({str(tmp_path / "trace")!r}, "w")\n_base_ = [{arguments[0]!r}]\n'
    for file in (f'{name}.py', f'{name}_backbone.py'):
        (tmp_path / 'out' / name / file).write_text(program)
    retraining = retraining_of(args, found.settings)
    retraining._export([candidate])
    assert retraining._training_config(name).model.type == 'ImageClassifier'
    assert not (tmp_path / 'trace').exists()


@pytest.mark.parametrize('linked', ['{}', '{}/training'])
def test_no_folder_of_a_network_leads_elsewhere(arguments: list[str], tmp_path: Path, linked: str) -> None:
    """The folder of results may have come from others; itself it may be a link of the user's."""
    parser = ArgumentParser()
    add_retraining_arguments(parser, 1, 'retrained')
    for folder in ('real', 'elsewhere'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'out').symlink_to(tmp_path / 'real')
    args = parser.parse_args([*arguments, '--out-dir', str(tmp_path / 'out')])
    found = search_of(args)
    (candidate,) = found.top(1)
    link = tmp_path / 'real' / linked.format(name_of(candidate.arch))
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / 'elsewhere')
    retraining = retraining_of(args, found.settings)
    with pytest.raises(ValueError, match=r'a link to .*elsewhere.*, out of .*/out; remove it'):
        retraining._export([candidate])
    assert not list((tmp_path / 'elsewhere').iterdir())
    link.unlink()
    retraining._export([candidate])
    assert (tmp_path / 'real' / name_of(candidate.arch)).is_dir()


def test_the_results_of_a_search_are_in_its_folder(arguments: list[str], tmp_path: Path) -> None:
    parser = ArgumentParser()
    add_retraining_arguments(parser, 1, 'elsewhere')
    args = parser.parse_args(arguments)
    found = search_of(args)
    Path(args.work_dir, 'elsewhere').symlink_to(tmp_path)
    try:
        with pytest.raises(ValueError, match=r'elsewhere: a link to .*, out of '):
            retraining_of(args, found.settings)
    finally:
        Path(args.work_dir, 'elsewhere').unlink()


def test_other_settings_in_the_same_place_are_refused(arguments: list[str], whole: Path, tmp_path: Path) -> None:
    before = (whole / 'networks.json').read_bytes()

    def refused(*more: str, **budget: Any) -> str:
        with pytest.raises(
            ValueError, match='networks were retrained with other settings, choose another folder: '
        ) as error:
            retrain(arguments, whole, *more, **budget)
        return str(error.value)

    assert 'epochs was null, now 1' in refused(epochs=1)
    assert 'start was "config", now "scratch"' in refused(start='scratch')
    assert 'optim_wrapper.optimizer.lr was' in refused('--cfg-options', 'optim_wrapper.optimizer.lr=0.5')
    other = tmp_path / 'other.pth'
    other.write_bytes(Path(arguments[2]).read_bytes() + b' ')
    assert 'supernet was "sha256:' in refused('--checkpoint', str(other))
    assert (whole / 'networks.json').read_bytes() == before


def test_a_damaged_record_is_told(arguments: list[str], tmp_path: Path) -> None:
    for content in ('{"settings": ', '{"settings": {}}', '[]'):
        (tmp_path / 'networks.json').write_text(content)
        with pytest.raises(ValueError, match=r'networks\.json'):
            retrain(arguments, tmp_path)
        assert (tmp_path / 'networks.json').read_text() == content


@pytest.mark.parametrize(
    'changes',
    [{'name': '[/bold]'}, {'name': '\x1b[2J'}, {'retrained_score': 'x'}, {'supernet_score': []}, {'config': 5}],
    ids=str,
)
def test_a_record_holds_what_is_printed(arguments: list[str], whole: Path, tmp_path: Path, changes: Any) -> None:
    content = read(whole / 'networks.json')
    content['networks'][0].update(changes)
    (tmp_path / 'networks.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf'{next(iter(changes))}: got .*, allowed: '):
        retrain(arguments, tmp_path)


def test_mistakes_are_told_before_any_training(arguments: list[str], tmp_path: Path) -> None:
    def told(*more: str, **budget: Any) -> str:
        with pytest.raises(ValueError, match=r'got|not exist') as error:
            retrain(arguments, tmp_path, *more, **budget)
        return str(error.value)

    assert 'checkpoint none.pth does not exist' in told('--checkpoint', 'none.pth')
    assert '--count: got 7, allowed: an int from 1 to 6' in told('--count', '7')
    assert 'none.py does not exist' in told('--recipe', 'none.py')
    assert 'epochs: got 0' in told(epochs=0)
    assert 'start: got ' in told(start='somewhere')
    assert 'work directory none does not exist' in told('--work-dir', 'none')
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(f'_base_ = [{arguments[0]!r}]\nval_evaluator = dict(_delete_=True, type="ConfusionMatrix")\n')
    assert "got ['confusion_matrix/...'], allowed: one that gives accuracy/top1" in told('--recipe', str(recipe))
    with pytest.raises(SearchError, match='no such file'):
        retrain(arguments, tmp_path, '--storage', str(tmp_path / 'none.journal'))
    assert not (tmp_path / 'networks.json').exists()


def test_a_schedule_in_epochs_is_rescaled() -> None:
    cfg = Config(
        {
            'train_cfg': {'max_epochs': 20},
            'param_scheduler': [
                {'type': 'LinearLR', 'by_epoch': True, 'end': 2, 'convert_to_iter_based': True},
                {'type': 'CosineAnnealingLR', 'begin': 2, 'T_max': 18, 'end': 20},
                {'type': 'MultiStepLR', 'milestones': [8, 16]},
                {'type': 'LinearLR', 'by_epoch': False, 'end': 50},
            ],
        }
    )
    rescale_epochs(cfg, 10, epoch_length=7)
    assert cfg.train_cfg.max_epochs == 10
    assert cfg._to_lazy_dict()['param_scheduler'] == [
        {'type': 'LinearLR', 'end': 7, 'by_epoch': False},
        {'type': 'CosineAnnealingLR', 'begin': 7, 'T_max': 63, 'end': 70, 'by_epoch': False},
        {'type': 'MultiStepLR', 'milestones': [28, 56], 'by_epoch': False},
        {'type': 'LinearLR', 'by_epoch': False, 'end': 50},
    ]


def test_weights_are_averaged_over_the_same_share_of_a_training() -> None:
    hooks = [
        {'type': 'EMAHook', 'momentum': 1e-4},
        {'type': 'mmhybrid.EMAHook', 'begin_epoch': 240},
        {'type': 'EMAHook', 'ema_type': 'StochasticWeightAverage'},
        {'type': 'SyncBuffersHook'},
    ]
    cfg = Config({'train_cfg': {'max_epochs': 300}, 'custom_hooks': hooks})
    rescale_epochs(cfg, 10, epoch_length=7)
    first, second, *others = cfg._to_lazy_dict()['custom_hooks']
    default = inspect.signature(ExponentialMovingAverage).parameters['momentum'].default
    assert (1 - first['momentum']) ** (10 * 7) == pytest.approx((1 - 1e-4) ** (300 * 7))
    assert (1 - second['momentum']) ** (10 * 7) == pytest.approx((1 - default) ** (300 * 7))
    assert second['begin_epoch'] == 8
    assert others == hooks[2:]


@given(st.integers(1, 300), st.integers(1, 400), st.integers(1, 30), st.integers(1, 50))
def test_a_rescaled_schedule_has_no_gap_and_ends_with_the_training(
    planned: int, epochs: int, warmup: int, length: int
) -> None:
    parts = [{'type': 'LinearLR', 'end': warmup}, {'type': 'CosineAnnealingLR', 'begin': warmup, 'end': planned}]
    cfg = Config({'train_cfg': {'max_epochs': planned}, 'param_scheduler': parts})
    rescale_epochs(cfg, epochs, length)
    ends = {part['type']: (part.get('begin', 0), part['end']) for part in cfg.param_scheduler}
    assert all(end - begin >= 2 for begin, end in ends.values())
    if 'CosineAnnealingLR' in ends:
        begin, end = ends['CosineAnnealingLR']
        assert end == epochs * length
        assert abs(begin - warmup * epochs * length / planned) <= 0.5
        assert ends.get('LinearLR', (0, begin)) == (0, begin)


def test_epochs_need_a_training_that_counts_them() -> None:
    with pytest.raises(ValueError, match=r'train_cfg\.max_epochs'):
        check_counts_epochs(Config({'train_cfg': {'max_iters': 5}}))


def on_rank(rank: int, port: int, arguments: list[str], out: Path) -> None:
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2'}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    torch.set_num_threads(1)
    with unformatted():
        networks = retrain(arguments, out, '--launcher', 'pytorch')
    (out / f'rank{rank}.json').write_text(json.dumps([network.described() for network in networks]))


def test_two_ranks_train_together(arguments: list[str], tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    ranks = [CONTEXT.Process(target=on_rank, args=(rank, port, arguments, tmp_path), daemon=True) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=180)
        assert process.exitcode == 0
    assert read(tmp_path / 'rank0.json') == read(tmp_path / 'rank1.json')
    names = [network['name'] for network in read(tmp_path / 'networks.json')['networks']]
    assert names == [network['name'] for network in read(tmp_path / 'rank0.json')]
    # each rank sees half of the images
    checkpoint = load_local(read(tmp_path / 'rank0.json')[0]['checkpoint'], 'cpu')
    assert checkpoint['meta']['iter'] == 2 * 2
