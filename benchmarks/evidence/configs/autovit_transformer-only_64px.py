"""AutoViT's transformer-only ablation, small, on Imagenette at 64 px, as slow as ``autovit_alone_64px.py``.

Command: ``python benchmarks/evidence/run.py autovit-hybrid``
Source: ours, for a row of AutoViT's Table 7.
Published: none.
Its last stage is wider, so that it takes as long on ONNX Runtime as the hybrid network.
"""

_base_ = ['./autovit_alone_64px.py']

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            transformer_only=True,
            stem_width=16,
            conv_widths=[16, 24, 32],
            embed_dims=[48, 64, 96],
            depths=[2, 2, 2],
            num_heads=[3, 3, 3],
            mlp_ratios=[2, 2, 2],
        ),
    ),
    head=dict(in_channels=384),
)
