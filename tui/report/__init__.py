"""Reports of runs and studies: a document of text, tables and figures, written as HTML or Markdown."""
