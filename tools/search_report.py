"""``mmhybrid report`` as a script: see mmhybrid/commands/search_report.py."""

from mmhybrid.commands.search_report import main

if __name__ == '__main__':
    main()
