"""GLNet-STL with the local branch only, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_local_in1k.py 16``
Source: GLNet, Table 6.
Published: 81.8 % top-1, 26.4 M parameters, 3.8 G FLOPs.
The recipe is that of GLNet-STL; the paper gives none for its ablations.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(backbone=dict(arch=dict(mixers=['local', 'local', 'local', 'mhsa'])))
