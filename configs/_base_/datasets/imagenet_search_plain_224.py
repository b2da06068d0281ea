# The images of imagenet_search_224.py, cropped and flipped alone in training.
_base_ = ['./imagenet_search_224.py']

train_pipeline = [*_base_.train_pipeline[:3], _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
