"""The dataset that is rendered here."""
