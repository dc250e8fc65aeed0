"""Compares the hand-written gradients with autograd and finite differences."""
