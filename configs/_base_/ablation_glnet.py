# GLNet-STL and its recipe, the architecture spelled out for ablations to change.
_base_ = ['./glnet_in1k.py']

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=[96, 192, 384, 768],
            depths=[2, 2, 6, 2],
            ffn_ratios=[4, 4, 4, 4],
            mixers=['glmix', 'glmix', 'glmix', 'mhsa'],
        ),
        drop_path_rate=0.1,
    ),
    head=dict(in_channels=768),
)
