"""Prints the README's table of presets: counted figures beside the published ones.

python docs/generate/presets_table.py
"""

from argparse import ArgumentParser
from functools import cache

from mmhybrid.counting.complexity import Complexity, count_complexity
from mmhybrid.models.build import on_meta
from mmhybrid.models.presets import PUBLISHED, Preset, build_classifier


@cache
def count_presets() -> tuple[tuple[Preset, Complexity], ...]:
    """The cost of each preset with its classifier."""
    return tuple((preset, _count(preset)) for preset in PUBLISHED)


def presets_markdown() -> str:
    """The table of all presets in Markdown."""
    lines = [
        '| backbone | preset | input | parameters | published | MACs | without attention | published | activations |',
        '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for preset, cost in count_presets():
        published = '-' if preset.gmacs is None else f'{preset.gmacs} G'
        cells = (
            preset.family,
            preset.arch,
            f'{preset.image_size}²',
            f'{cost.params:,}',
            f'{preset.params_m} M',
            f'{cost.macs / 1e9:.3f} G',
            f'{(cost.macs - cost.macs_attention) / 1e9:.3f} G',
            published,
            f'{cost.activations / 1e6:.1f} M',
        )
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _count(preset: Preset) -> Complexity:
    with on_meta():
        model = build_classifier(preset)
    return count_complexity(model, (3, preset.image_size, preset.image_size))


if __name__ == '__main__':
    ArgumentParser(description=(__doc__ or '').splitlines()[0]).parse_args()
    print(presets_markdown())
