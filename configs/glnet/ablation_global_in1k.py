"""GLNet-STL with the global branch only, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_global_in1k.py 16``
Source: GLNet, Table 6.
Published: 78.0 % top-1, 28.3 M parameters, 3.8 G FLOPs.
As released (``local_dw_ks=0``), the normed map takes the place of the local branch. The recipe is GLNet-STL's; the
paper gives none for its ablations.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(backbone=dict(arch=dict(mixers=['global', 'global', 'global', 'mhsa'])))
