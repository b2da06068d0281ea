# A GLNet of 0.7 M parameters: every kind of block, few of each.
backbone = dict(
    type='mmhybrid.GLNet',
    arch=dict(
        embed_dims=[32, 64, 96, 128],
        depths=[1, 1, 2, 1],
        ffn_ratios=[3, 3, 3, 3],
        mixers=['glmix', 'glmix', ['glmix', 'mhsa'], 'mhsa'],
        num_slots=[16, 16, 16, 16],
        overlapped_patches=True,
        pos_encoding=True,
        conv_ffn=True,
    ),
    drop_path_rate=0.05,
)
dense = dict(out_indices=(0, 1, 2, 3), out_norm_cfg=dict(type='LN2d'))
channels = [32, 64, 96, 128]
cls_channels = 128
