"""``mmhybrid latency-report`` as a script: see mmhybrid/commands/latency_report.py."""

from mmhybrid.commands.latency_report import main

if __name__ == '__main__':
    main()
