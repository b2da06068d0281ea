"""``mmhybrid export-subnet`` as a script: see mmhybrid/commands/export_subnet.py."""

from mmhybrid.commands.export_subnet import main

if __name__ == '__main__':
    main()
