"""Training: the loop and what it needs: plan, job, metrics, precision, memory and time estimates, and the ranks."""
