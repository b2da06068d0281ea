# DeiT's augmentation at 256 px; tests crop the middle of 288 px, as MobileViT does (DeiT's ratio would give 292).
_base_ = ['./imagenet_224.py']

img_size = 256
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = img_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 288
test_pipeline[2].crop_size = img_size

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
