"""GLNet-STL with all steps towards GLNet-4G but the convolutional FFN, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_deeper_in1k.py 16``
Source: GLNet, Table 7, step 4; step 5 is ``glnet_4g_in1k.py``, whose stochastic depth of 0.15 this takes.
Published: 83.5 % top-1, 26.8 M parameters, 4.5 G FLOPs.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(
    backbone=dict(
        arch=dict(
            embed_dims=[64, 128, 256, 512],
            depths=[4, 4, 18, 4],
            ffn_ratios=[3, 3, 3, 3],
            mixers=['glmix', 'glmix', ['glmix', 'mhsa'] * 9, 'mhsa'],
            overlapped_patches=True,
            pos_encoding=True,
        ),
        drop_path_rate=0.15,
    ),
    head=dict(in_channels=512),
)
