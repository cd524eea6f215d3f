"""Studies: several runs with one result, worked on by any number of processes; their files, queue and events."""
