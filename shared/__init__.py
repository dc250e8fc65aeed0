"""What the applications share. Nothing in here imports from `apps`.

Two floors, and every import points down (`tests/test_layout.py` holds this):

    training/  parity/  runs/  command.py               may import what is below
    data/  config.py  errors.py  files.py  nested.py    import none of the above, and no framework

"""
