"""ImageNet, released and published weights."""
