"""``mmhybrid get-complexity`` as a script: see mmhybrid/commands/get_complexity.py."""

from mmhybrid.commands.get_complexity import main

if __name__ == '__main__':
    main()
