"""``mmhybrid audit-ranking`` as a script: see mmhybrid/commands/audit_ranking.py."""

from mmhybrid.commands.audit_ranking import main
from mmhybrid.engine.ranks import run

if __name__ == '__main__':
    run(main)
