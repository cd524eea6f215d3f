"""What runs amount to: one run's figures, what several show together, and the charts of both; nothing here trains."""
