"""A space of a few small GLNets."""

SPACE = {
    'type': 'mmhybrid.GLNetSpace',
    'widths': [[32], [32], [32, 64], [64]],
    'depths': [[1], [1], [1, 2], [1]],
    'num_slots': [4],
}
