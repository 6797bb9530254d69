"""The settings of the frontend: fields in groups, presets, reports and checks."""

from openai_frontend.settings.settings import Settings

__all__ = ["Settings"]
