"""The data sets: one loader a file, NumPy arrays out, no training framework in."""
