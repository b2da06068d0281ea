"""``mmhybrid split-coco`` as a script: see mmhybrid/commands/split_coco.py."""

from mmhybrid.commands.split_coco import main

if __name__ == '__main__':
    main()
