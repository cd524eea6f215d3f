"""The Runs page: a sortable, filterable table of all runs with details of the selected one."""
