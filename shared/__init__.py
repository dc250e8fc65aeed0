"""What the applications share. Nothing in here imports from `apps`.

Every import points down (`tests/test_layout.py` checks it):

    training/  parity/  runs/  cli.py  application.py      import what is below
    data/  backprop/  native/  compose.py  config.py  ...  import none of the above, and no framework
"""
