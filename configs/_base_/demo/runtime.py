custom_imports = dict(imports=['mmhybrid'], allow_failed_imports=False)
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='gloo')
)
randomness = dict(seed=0)
log_level = 'INFO'  # read by MMPretrain's t-SNE
