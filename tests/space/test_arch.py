import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmhybrid.space import Arch

VALUES = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
GENES = st.dictionaries(st.text(), VALUES)


@given(GENES)
def test_json_round_trip(genes):
    arch = Arch(genes)
    assert Arch.from_json(arch.to_json()) == arch
    assert Arch.from_json(arch.to_json()).to_json() == arch.to_json()
    assert json.loads(arch.to_json()) == genes


@given(GENES)
def test_order_does_not_matter(genes):
    backwards = Arch(dict(reversed(list(genes.items()))))
    assert backwards == Arch(genes)
    assert hash(backwards) == hash(Arch(genes))
    assert backwards.to_json() == Arch(genes).to_json()


def test_immutable():
    genes = {'depth': 2}
    arch = Arch(genes)
    genes['depth'] = 3
    assert arch['depth'] == 2
    with pytest.raises(TypeError):
        arch['depth'] = 3
    with pytest.raises(AttributeError):
        arch.depth = 3


@pytest.mark.parametrize('copied', [copy.copy, copy.deepcopy, lambda arch: pickle.loads(pickle.dumps(arch))])  # noqa: S301
def test_copies_are_equal(copied):
    arch = Arch({'depth': 2, 'mixer': 'glmix'})
    assert copied(arch) == arch
    assert len({copied(arch), arch}) == 1


@pytest.mark.parametrize(
    ('genes', 'named'),
    [
        ([('depth', 2)], 'arch'),
        ({3: 2}, '3'),
        ({'depth': [2]}, 'depth'),
        ({'depth': None}, 'depth'),
        ({'ratio': float('nan')}, 'ratio'),
        ({'ratio': float('inf')}, 'ratio'),
    ],
)
def test_refuses_what_is_no_gene(genes, named):
    with pytest.raises(ValueError, match=named):
        Arch(genes)


@pytest.mark.parametrize('text', ['', '{', '[1]', '3', 'null', '{"depth": null}', '{"a": {"b": 1}}', '{"a": NaN}'])
def test_refuses_malformed_json(text):
    with pytest.raises(ValueError, match='allowed:'):
        Arch.from_json(text)
