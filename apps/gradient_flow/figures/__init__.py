"""One file a picture: each measures, draws, and says what is to be seen."""
