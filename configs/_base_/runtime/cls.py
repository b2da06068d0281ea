_base_ = ['mmpretrain::_base_/default_runtime.py']

custom_imports = dict(imports=['mmhybrid'], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(type='mmhybrid.AtomicCheckpointHook', interval=1, max_keep_ckpts=3))
randomness = dict(seed=0)
