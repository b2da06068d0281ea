"""``mmhybrid run-onnx`` as a script: see mmhybrid/commands/run_onnx.py."""

from mmhybrid.commands.run_onnx import main

if __name__ == '__main__':
    main()
