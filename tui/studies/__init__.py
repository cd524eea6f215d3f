"""The Studies pages: the list of studies, and one study with its runs, charts and findings."""
