# An AutoViT of three transformer stages, half as deep and wide as XXS.
backbone = dict(
    type='mmhybrid.AutoViT',
    arch=dict(
        stem_width=16,
        conv_widths=[16, 24, 32],
        conv_depths=[1, 2, 2],
        embed_dims=[48, 64, 80],
        depths=[2, 2, 2],
        num_heads=[2, 3, 4],
        mlp_ratios=[2, 2, 2],
    ),
    drop_path_rate=0.05,
)
dense = dict(out_indices=(0, 1, 2, 3), mbpool=False)
channels = [24, 32, 48, 64]
cls_channels = 384
