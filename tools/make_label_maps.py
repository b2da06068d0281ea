"""``mmhybrid make-label-maps`` as a script: see mmhybrid/commands/make_label_maps.py."""

from mmhybrid.commands.make_label_maps import main

if __name__ == '__main__':
    main()
