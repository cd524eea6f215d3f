"""Results of runs and studies: figures, comparisons, statistics, curves, chart data and exports; nothing trains."""
