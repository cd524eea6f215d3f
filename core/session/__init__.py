"""One attempt at a run in this process: prepare, train, record events, save checkpoints, resume and hand over."""
