"""The training core: it trains, and says what happens; it never draws."""
