"""The user interface: the command line, the Textual app, and the reports."""
