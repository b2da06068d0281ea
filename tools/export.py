"""``mmhybrid export`` as a script: see mmhybrid/commands/export.py."""

from mmhybrid.commands.export import main

if __name__ == '__main__':
    main()
