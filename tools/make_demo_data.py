"""``mmhybrid make-demo-data`` as a script: see mmhybrid/commands/make_demo_data.py."""

from mmhybrid.commands.make_demo_data import main

if __name__ == '__main__':
    main()
