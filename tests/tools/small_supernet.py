"""The config of a small supernet, of which latency tables are measured in seconds."""

SUPERNET = """
model = dict(
    type='mmhybrid.OneShot',
    architecture=dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmhybrid.Supernet',
            space=dict(type='mmhybrid.GLiTSpace', embed_dims=24, num_blocks=3, level='attention'),
            backbone=dict(type='mmhybrid.GLiT', img_size=32),
        ),
        head=dict(type='VisionTransformerClsHead', num_classes=7, in_channels=24),
    ),
)
"""
