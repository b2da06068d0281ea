"""``mmhybrid measure`` as a script: see mmhybrid/commands/measure.py."""

from mmhybrid.commands.measure import main

if __name__ == '__main__':
    main()
