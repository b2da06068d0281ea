"""``mmhybrid plot-arch`` as a script: see mmhybrid/commands/plot_arch.py."""

from mmhybrid.commands.plot_arch import main

if __name__ == '__main__':
    main()
