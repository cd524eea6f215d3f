"""What the app knows, whatever page is shown: workspace, feed of the active run, settings drafts, preferences."""
