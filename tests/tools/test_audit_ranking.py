"""The tool that judges a supernet's ranking."""

from pathlib import Path

import numpy as np
import pytest
from retraining_demo import EVALUATED, make_finished_search, read

from mmhybrid.apis import retraining
from mmhybrid.commands import audit_ranking
from mmhybrid.search.audit import Audit
from mmhybrid.utils.statistics import kendall_tau


@pytest.fixture(scope='module')
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_finished_search(tmp_path_factory.mktemp('audit'))


def test_figures_are_those_of_the_networks_it_trained(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / 'figures/audit.json'
    command = [*arguments, '--count', '2', '--epochs', '1', '--top', '1', '--json', str(path)]
    audit_ranking.main(command)
    told = capsys.readouterr().out
    figures = read(path)
    before, after = (
        np.array([network[name] for network in figures['networks']]) for name in ('supernet_score', 'retrained_score')
    )
    assert len(before) == 2
    assert figures['kendall_tau'] == pytest.approx(kendall_tau(before, after))
    assert figures['regret'] == after.max() - after[before.argmax()]
    assert figures['kendall_tau_low'] <= figures['kendall_tau'] <= figures['kendall_tau_high']
    assert (figures['start'], figures['epochs']) == ('weights', 1)
    assert f'Kendall tau: {figures["kendall_tau"]:.2f}' in told
    # half of the samples of two networks have one of them twice
    assert 'warning: ' in told

    monkeypatch.setattr(retraining, 'train', lambda cfg: pytest.fail('trained again'))
    audit_ranking.main(command)
    assert read(path) == figures


def test_a_sound_ranking_is_told_without_a_warning(capsys: pytest.CaptureFixture) -> None:
    audit_ranking.tell([], Audit(0.8, 0.5, 1.0, 0.25, 12, 3), 'accuracy/top1')
    told = capsys.readouterr().out
    assert 'Kendall tau: 0.80 (95 %: 0.50 to 1.00)' in told
    assert 'regret of retraining the best 3 only: 0.25' in told
    assert 'warning' not in told


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--count', '1'], '--count: got 1, allowed: an int >= 2'),
        (['--count', '12'], f'--count: got 12, allowed: an int from 1 to {EVALUATED}'),
        (['--count', '3', '--top', '4'], '--top: got 4, allowed: an int from 1 to 3'),
        (['--count', '3', '--epochs', '0'], 'epochs: got 0, allowed: an int >= 1'),
    ],
)
def test_mistakes_end_with_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture, options: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        audit_ranking.main([*arguments, *options])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f'{sentence}\n'
