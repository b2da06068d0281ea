"""The tool that retrains the best networks of a search."""

import random
from pathlib import Path

import pytest
from retraining_demo import invented, make_finished_search, read

from mmhybrid.apis import retraining
from mmhybrid.apis.configs import load_config
from mmhybrid.apis.retraining_record import Retrained, best_of
from mmhybrid.commands import retrain_topk
from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.models.checkpoints import read_checkpoint
from mmhybrid.search import Objective
from mmhybrid.space import Arch


@pytest.fixture(scope='module')
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_finished_search(tmp_path_factory.mktemp('topk'))


def test_the_best_are_retrained_and_the_best_of_them_kept(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    retrain_topk.main([*arguments, '--count', '2'])
    told = capsys.readouterr().out
    out = Path(arguments[-1]) / 'retrained'
    best = read(out / 'best_retrained.json')
    networks = read(out / 'networks.json')['networks']
    assert best['metric'] == 'accuracy/top1'
    assert best['retrained_score'] == max(network['retrained_score'] for network in networks)
    assert best['supernet_score'] == invented(best['arch'])
    assert load_config(best['config']).model.backbone.type == 'mmhybrid.AutoViT'
    assert 'state_dict' in read_checkpoint(best['checkpoint'])
    for network in networks:
        (row,) = [line for line in told.splitlines() if line.startswith('│') and network['name'] in line]
        assert f'{network["supernet_score"]:.6g}' in row
        assert f'{network["retrained_score"]:.6g}' in row

    monkeypatch.setattr(retraining, 'train', lambda cfg: pytest.fail('trained again'))
    retrain_topk.main([*arguments, '--count', '2'])
    assert read(out / 'best_retrained.json') == best


def test_random_networks_need_neither_a_supernet_nor_a_search(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """GLiT, table 5: they keep the constraints, start from random weights, and are the same the next time."""
    config = str(tmp_path / 'bounded.py')
    Path(config).write_text(f'_base_ = [{arguments[0]!r}]\nsearch_cfg = dict(constraints=dict(macs_m=dict(max=1.8)))')
    out = tmp_path / 'new' / 'work_dir'
    retrain_topk.main([config, '--random', '2', '--work-dir', str(out)])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith('│') and ' - ' in line]
    best = read(out / 'retrained/best_retrained.json')
    networks = read(out / 'retrained/networks.json')['networks']
    assert len(networks) == len({network['name'] for network in networks}) == 2
    assert {network['supernet_score'] for network in networks} == {None}
    assert best['retrained_score'] == max(network['retrained_score'] for network in networks)
    cfg = load_config(config)
    workload = Workload.of_model(cfg.model, None)
    estimate = Estimator(workload)
    costs = sorted(estimate(workload.space.sample(random.Random(seed))).macs_m for seed in range(20))
    assert costs[0] < 1.8 < costs[-1]
    for network in networks:
        assert estimate(network['arch']).macs_m <= 1.8
        trained = load_config(str(out / 'retrained' / network['config']))
        assert trained.get('load_from') is None
        assert trained.model.backbone.get('init_cfg') is None

    monkeypatch.setattr(retraining, 'train', lambda cfg: pytest.fail('trained again'))
    retrain_topk.main([config, '--random', '2', '--work-dir', str(out)])
    assert read(out / 'retrained/networks.json')['networks'] == networks


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ([], '--random: got None, allowed: a number of networks, or else --checkpoint'),
        (['--random', '2', '--checkpoint', 'supernet.pth'], '--random: got 2'),
        (['--random', '0'], '--random: got 0, allowed: an int >= 1'),
        (['--random', '2', '--cfg-options', 'search_cfg.constraints.macs_m.max=0.001'], 'macs_m <= 0.001: 100'),
    ],
)
def test_random_networks_that_cannot_be_drawn(
    arguments: list[str], given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tmp_path / 'bounded.py'
    config.write_text(f'_base_ = [{arguments[0]!r}]\nsearch_cfg = dict(constraints=dict(macs_m=dict(max=1.8)))')
    with pytest.raises(SystemExit) as ended:
        retrain_topk.main([str(config), '--work-dir', str(tmp_path), *given])
    assert message in capsys.readouterr().err + str(ended.value)


def test_best_by_direction_and_never_one_that_failed() -> None:
    networks = [Retrained(str(score), Arch({}), 0.0, score, '', '') for score in (float('nan'), 3.0, 5.0, 5.0)]
    assert best_of(networks, Objective('top1')) is networks[2]
    assert best_of(networks, Objective('loss', 'minimize')) is networks[1]


def test_mistakes_end_with_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        retrain_topk.main([*arguments, '--count', '0'])
    assert ended.value.code == 2
    assert capsys.readouterr().err == '--count: got 0, allowed: an int from 1 to 6\n'
