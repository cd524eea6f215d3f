"""Rules applied once: Textual applies them to nodes that are not there yet and to whole pages that have them."""

from __future__ import annotations

from textual.app import App
from textual.dom import DOMNode


class StyledOnce(App[None]):
    """An app whose nodes get their style when they are mounted, and anew when a class or the theme changes."""

    _theme_in_use = ""

    def begin_with_theme(self) -> None:
        """Have the rules read for the theme chosen so far, which is another than they know of."""
        self.stylesheet.set_variables(self.get_css_variables())
        self._theme_in_use = self.theme

    def update_styles(self, node: DOMNode, animate: bool = True) -> None:
        """Apply the rules to a node and what is in it, unless mounting will do it."""
        if node is self or node.parent is not None:
            super().update_styles(node, animate)

    def refresh_css(self, animate: bool = True) -> None:
        """Read and apply all rules anew where the theme is another; Textual does so for every new page as well.

        A page that was out of view gets them as it comes up (`Page.on_screen_resume`).
        """
        if self.theme != self._theme_in_use:
            self._theme_in_use = self.theme
            super().refresh_css(animate)
