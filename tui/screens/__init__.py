"""What all pages share: their base class, the dialogs, and the list of keys."""
