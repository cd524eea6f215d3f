"""core/runs"""
