"""``mmhybrid visualize-features`` as a script: see mmhybrid/commands/visualize_features.py."""

from mmhybrid.commands.visualize_features import main

if __name__ == '__main__':
    main()
