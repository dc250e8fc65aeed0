"""One file per chart: each measures, draws, and writes a caption from its numbers."""
