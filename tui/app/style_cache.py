"""Apply CSS once per widget: Textual also styles unmounted widgets, and whole pages each time they are shown."""

from __future__ import annotations

from textual.app import App
from textual.dom import DOMNode


class StyleCachingApp(App[None]):
    """An app whose widgets are styled when they are mounted, and again when a class or the theme changes."""

    _applied_theme = ""

    def use_initial_theme(self) -> None:
        """Read the CSS for the theme chosen so far, instead of Textual's default."""
        self.stylesheet.set_variables(self.get_css_variables())
        self._applied_theme = self.theme

    def update_styles(self, node: DOMNode, animate: bool = True) -> None:
        """Style a node and its children, unless it is not mounted yet."""
        if node is self or node.parent is not None:
            super().update_styles(node, animate)

    def refresh_css(self, animate: bool = True) -> None:
        """Read and apply all CSS again if the theme changed; Textual would do so for every new page as well.

        Hidden pages are styled when they are shown (`Page.on_screen_resume`).
        """
        if self.theme != self._applied_theme:
            self._applied_theme = self.theme
            super().refresh_css(animate)
