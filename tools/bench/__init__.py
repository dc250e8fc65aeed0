"""What is fast here is measured beside what people would use instead: make bench."""
