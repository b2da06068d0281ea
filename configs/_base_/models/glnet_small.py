# A GLNet small enough for a CPU.
glnet_small = dict(
    embed_dims=[32, 64, 128, 256],
    depths=[1, 1, 4, 1],
    ffn_ratios=[3, 3, 3, 3],
    mixers=['glmix', 'glmix', ['glmix', 'mhsa'] * 2, 'mhsa'],
    overlapped_patches=True,
    pos_encoding=True,
    conv_ffn=True,
)
