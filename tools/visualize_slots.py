"""``mmhybrid visualize-slots`` as a script: see mmhybrid/commands/visualize_slots.py."""

from mmhybrid.commands.visualize_slots import main

if __name__ == '__main__':
    main()
