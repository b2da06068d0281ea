# A GLiT of four blocks: attention alone, convolution alone, and both.
backbone = dict(
    type='mmhybrid.GLiT',
    arch=dict(
        embed_dims=96,
        num_heads=3,
        blocks=[
            dict(num_attn_heads=0, conv_ratio=2, kernel_size=17, mlp_ratio=2),
            dict(num_attn_heads=1, qkv_ratio=1, conv_ratio=2, kernel_size=31, mlp_ratio=2),
            dict(num_attn_heads=2, qkv_ratio=1, conv_ratio=1, kernel_size=17, mlp_ratio=2),
            dict(num_attn_heads=3, qkv_ratio=1, mlp_ratio=2),
        ],
    ),
    img_size=128,
    patch_size=16,
    drop_path_rate=0.05,
)
dense = dict(out_type='featmap', out_norm_cfg=dict(type='LN2d'))
channels = [96, 96, 96, 96]
cls_channels = 96
