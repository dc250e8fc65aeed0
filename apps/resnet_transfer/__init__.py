"""Transfer learning with a ResNet: few pictures of new classes, and what was learned before."""
