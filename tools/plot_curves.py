"""``mmhybrid plot-curves`` as a script: see mmhybrid/commands/plot_curves.py."""

from mmhybrid.commands.plot_curves import main

if __name__ == '__main__':
    main()
