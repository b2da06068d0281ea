"""``mmhybrid search`` as a script: see mmhybrid/commands/search.py."""

from mmhybrid.commands.search import main
from mmhybrid.engine.ranks import run

if __name__ == '__main__':
    run(main)
