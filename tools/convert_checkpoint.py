"""``mmhybrid convert-checkpoint`` as a script: see mmhybrid/commands/convert_checkpoint.py."""

from mmhybrid.commands.convert_checkpoint import main

if __name__ == '__main__':
    main()
