"""``mmhybrid split-segmentation`` as a script: see mmhybrid/commands/split_segmentation.py."""

from mmhybrid.commands.split_segmentation import main

if __name__ == '__main__':
    main()
