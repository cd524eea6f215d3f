"""Reports to hand in: a document of texts, tables and pictures, and its forms as HTML and Markdown."""
