"""The tool that retrains the best networks of a search."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from retraining_demo import ROOT, invented, make_finished_search, read, unformatted

from mmhybrid.engine import cli
from mmhybrid.engine.retraining import Retrained, best_of
from mmhybrid.search import Objective
from mmhybrid.space import Arch

sys.path.insert(0, str(ROOT / 'tools'))

import retrain_topk


@pytest.fixture(scope='module')
def arguments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with unformatted():
        yield make_finished_search(tmp_path_factory.mktemp('topk'))


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
    assert cli.load_config(best['config']).model.backbone.type == 'mmhybrid.AutoViT'
    assert 'state_dict' in cli.read_checkpoint(best['checkpoint'])
    for network in networks:
        (row,) = [line for line in told.splitlines() if line.startswith('│') and network['name'] in line]
        assert f'{network["supernet_score"]:.6g}' in row
        assert f'{network["retrained_score"]:.6g}' in row

    monkeypatch.setattr(cli, 'train', lambda cfg: pytest.fail('trained again'))
    retrain_topk.main([*arguments, '--count', '2'])
    assert read(out / 'best_retrained.json') == best


def test_best_by_direction_and_never_one_that_failed() -> None:
    networks = [Retrained(str(score), Arch({}), 0.0, score, '', '') for score in (float('nan'), 3.0, 5.0, 5.0)]
    assert best_of(networks, Objective('top1')) is networks[2]
    assert best_of(networks, Objective('loss', 'minimize')) is networks[1]


def test_mistakes_end_with_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        retrain_topk.main([*arguments, '--count', '0'])
    assert ended.value.code == 2
    assert capsys.readouterr().err == '--count: got 0, allowed: an int from 1 to 6\n'
