"""The Textual app itself: start-up, pages, themes, toasts, and the server that shows it in a browser."""
