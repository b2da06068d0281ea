"""``mmhybrid profile-latency`` as a script: see mmhybrid/commands/profile_latency.py."""

from mmhybrid.commands.profile_latency import main

if __name__ == '__main__':
    main()
