"""Is a test set clean and whole?"""
