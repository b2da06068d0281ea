"""What the shipped supernets are trained on, as docs/spaces.md has it."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from spaces_table import draw, draws_markdown, read_supernet, shipped_supernets

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs' / 'spaces.md').read_text()
UNION = Path('configs/autovit/search_autovit_union_in1k.py')


@pytest.mark.parametrize(('option', 'expected'), [({}, 0.27), ({'table': 'union-free'}, 0.008)])
def test_share_of_the_union_that_has_the_size_of_xxs(option: dict, expected: float) -> None:
    """The shares were counted independently: 27 % where one of the tables is drawn first, 0.8 % in the free union.

    They are of parameters, which one resolution has as well as the three.
    """
    cfg = Config.fromfile(ROOT / UNION)
    cfg.model.architecture.backbone.space.update(option, restrict={'resolution': 224})
    drawn = draw(read_supernet(UNION, '', cfg), 400)
    assert drawn.inside == pytest.approx(expected, abs=0.05 if not option else 0.01)
    assert drawn.params_m == tuple(sorted(drawn.params_m))


def test_the_spaces_of_the_papers_have_a_row() -> None:
    names = re.findall(r'^\| \[(\w[\w-]*)\]\(.*Mutator', PAGE, re.MULTILINE)
    assert {f'search_autovit_{size}_in1k' for size in ('xxs', 'xs', 's', 'union', 'xxs_transformer-only')} <= set(names)
    assert {'search_glit_tiny_distribution_in1k', 'search_glit_tiny_detail_in1k', 'search_glnet_in1k'} <= set(names)


@pytest.mark.slow
def test_the_table_is_the_printed_one() -> None:
    assert draws_markdown(shipped_supernets(ROOT)) in PAGE
