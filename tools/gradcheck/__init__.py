"""Compare the hand-written gradients with torch, Keras and finite differences."""
