"""UperNet with GLNet-9G on ADE20K, 160k iterations.

Command: ``bash tools/dist_train.sh configs/glnet/upernet_glnet_9g_160k_ade20k.py 8
--cfg-options load_from=CHECKPOINT``
Source: GLNet, Table 5; see ``upernet_glnet_4g_160k_ade20k.py`` for the learning rate.
Published: 51.4 mIoU, 91.7 M parameters, 988 G FLOPs (attention layers and slot products not counted).
"""

_base_ = ['./upernet_glnet_4g_160k_ade20k.py']

model = dict(
    backbone=dict(arch='9g', drop_path_rate=0.4),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
