"""The model index, as OpenMMLab's tools read it."""

from pathlib import Path

from modelindex.load_model_index import load
from modelindex.models.Model import Model

from mmhybrid.estimation.presets import count_presets

ROOT = Path(__file__).resolve().parents[1]


def test_every_preset_is_listed_with_its_figures() -> None:
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    models = {model.name: model for model in index.models}
    for preset, counted in count_presets():
        model = models.pop(f'{preset.family.lower()}-{preset.arch}_in1k')
        assert (ROOT / model.config).is_file()
        assert model.metadata.parameters == counted.params
        assert model.metadata.flops == counted.macs
        # reconstructions, and architectures of our own, state no result
        is_published = preset.family == 'GLNet' or (preset.family, preset.arch) == ('GLiT', 'tiny')
        stated = [result.metrics['Top 1 Accuracy'] for result in model.results or []]
        assert stated == ([preset.top1] if is_published else [])
    assert all(_states_what_its_config_does(model) for model in models.values())


def _states_what_its_config_does(model: Model) -> bool:
    """A row of a recipe beyond the presets: its results are those of the config's docstring."""
    docstring = (ROOT / model.config).read_text().split('"""')[1]
    published = docstring.partition('\nPublished: ')[2]
    numbers = [value for result in model.results for value in result.metrics.values()]
    return bool(numbers) and all(f'{value:.1f} ' in published for value in numbers)
