"""Values, events and tables as text: pure functions shared by the command line, the app and the reports."""
