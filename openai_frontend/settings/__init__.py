"""The settings of the frontend: fields in groups, presets, and what is printed and refused at the start."""

from openai_frontend.settings.settings import Settings

__all__ = ["Settings"]
