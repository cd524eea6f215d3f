"""What every page is made of: the base class, dialogs, and the help."""
