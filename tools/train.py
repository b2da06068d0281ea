"""``mmhybrid train`` as a script: see mmhybrid/commands/train.py."""

from mmhybrid.commands.train import main
from mmhybrid.engine.ranks import run

if __name__ == '__main__':
    run(main)
