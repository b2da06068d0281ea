"""``mmhybrid plain-weights`` as a script: see mmhybrid/commands/plain_weights.py."""

from mmhybrid.commands.plain_weights import main

if __name__ == '__main__':
    main()
