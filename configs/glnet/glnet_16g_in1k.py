"""GLNet-16G on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/glnet_16g_in1k.py 16``
Source: GLNet, Tables 2, 3 and 8.
Published: 85.0 % top-1 with EMA weights, 106 M parameters, 16.7 G FLOPs.
As released, the best EMA weights of all epochs are kept, and the best plain ones, published as 84.9 % and of another
epoch; see ``glnet_4g_in1k.py``. The released code trains in mixed precision: add ``--amp``. Its checkpoint has the EMA
weights under another name, which ``tools/convert_checkpoint.py`` is told by ``--arch 16g --key model_ema``.
"""

_base_ = ['./glnet_4g_in1k.py']

model = dict(backbone=dict(arch='16g', drop_path_rate=0.4), head=dict(in_channels=1024))
