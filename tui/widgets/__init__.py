"""One widget a file; none knows the app or a screen."""
