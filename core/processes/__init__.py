"""core/processes"""
