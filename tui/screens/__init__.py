"""The five pages of the app, and the dialogs over them."""
