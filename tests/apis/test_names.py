"""``mmhybrid.apis`` gives its main functions, and imports what each needs when it is asked for."""

import inspect

import pytest
from fresh_python import run_python

from mmhybrid import apis

SEARCH = ('optuna', 'mmhybrid.search', 'mmhybrid.space', 'mmhybrid.models.one_shot')


@pytest.mark.parametrize('name', apis.__all__)
def test_a_name_is_a_documented_function_of_the_room(name: str) -> None:
    value = getattr(apis, name)
    assert value.__name__ == name
    assert value.__module__.startswith('mmhybrid.apis.')
    assert inspect.getdoc(value)
    assert all(
        parameter.annotation is not parameter.empty for parameter in inspect.signature(value).parameters.values()
    )


def test_other_names_are_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = apis.trian


def test_what_trains_and_tests_needs_nothing_of_a_search() -> None:
    code = f"""
import sys
from mmhybrid.apis import evaluate, export_model, load_config, train
print([name for name in {SEARCH} if name in sys.modules])
from mmhybrid.apis import search
print([name for name in {SEARCH} if name not in sys.modules])
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['[]', '[]']
