"""The widgets of the screens: each draws one thing and knows no run, no thread and no file."""
