"""``mmhybrid keep-teacher`` as a script: see mmhybrid/commands/keep_teacher.py."""

from mmhybrid.commands.keep_teacher import main

if __name__ == '__main__':
    main()
