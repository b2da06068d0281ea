#!/usr/bin/env bash
# tools/torchrun.sh [arguments of torchrun]: starts ranks. torchrun itself would load libraries from the current folder.

# an empty name in PYTHONPATH is the current folder, and so is the first path of a program of python -c
export PYTHONPATH="$(dirname "$0")/..${PYTHONPATH:+:$PYTHONPATH}"
exec python -c 'import sys
sys.path[:1] == [""] and sys.path.pop(0)
import mmhybrid
from torch.distributed.run import main
main()' "$@"
