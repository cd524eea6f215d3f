"""The Analyze page: confusion matrix, class metrics, first-layer filters, and misclassified images of one run."""
