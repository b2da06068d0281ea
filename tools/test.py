"""``mmhybrid test`` as a script: see mmhybrid/commands/test.py."""

from mmhybrid.commands.test import main
from mmhybrid.engine.ranks import run

if __name__ == '__main__':
    run(main)
