"""``mmhybrid split-imagenet`` as a script: see mmhybrid/commands/split_imagenet.py."""

from mmhybrid.commands.split_imagenet import main

if __name__ == '__main__':
    main()
