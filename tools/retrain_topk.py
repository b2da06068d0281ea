"""``mmhybrid retrain-topk`` as a script: see mmhybrid/commands/retrain_topk.py."""

from mmhybrid.commands.retrain_topk import main
from mmhybrid.engine.ranks import run

if __name__ == '__main__':
    run(main)
