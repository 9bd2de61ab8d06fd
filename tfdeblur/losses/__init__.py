"""Losses per example: pixel, frequency and perceptual."""
