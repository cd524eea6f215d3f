"""The Compare page: the curves of several runs in one chart, and a table of what differs."""
