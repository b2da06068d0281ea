"""``mmhybrid demo`` as a script: see mmhybrid/commands/demo.py."""

from mmhybrid.commands.demo import main

if __name__ == '__main__':
    main()
