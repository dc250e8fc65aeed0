"""C code for what no library does fast: compiled on the machine that runs it, when it is needed."""
