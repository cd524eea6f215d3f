"""core/utils"""
