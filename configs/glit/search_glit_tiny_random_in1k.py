"""Random networks of GLiT-Tiny's whole space, a baseline of the hierarchical search.

Command: ``bash tools/torchrun.sh --nproc-per-node 8 tools/retrain_topk.py configs/glit/search_glit_tiny_random_in1k.py
--random 5 --work-dir DIR --recipe configs/glit/retrain_glit_tiny_in1k.py --launcher pytorch``
Source: GLiT, section 4.3 and table 5.
Published: 73.3 % top-1, 1.3 G FLOPs for the best of five random networks, retrained.
The paper retrains five networks without judging them before, so there is no supernet to train. A random search that
evaluates is another baseline, ``python tools/search.py`` with this config and a checkpoint of
``supernet_glit_tiny_flat_in1k.py``.
"""

_base_ = ['./supernet_glit_tiny_flat_in1k.py', '../_base_/search/random.py']

# the published network, 1.4 G by the paper's count, has 1473 M
search_cfg = dict(constraints=dict(macs_m=dict(max=1500.0)), input_size=224, calibration=_base_.calibration)
