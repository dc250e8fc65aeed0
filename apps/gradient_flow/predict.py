"""Describe the application to the tools: its runs can be repeated; they keep no network of use."""

from apps.gradient_flow.config import Config
from shared.application import Application
from shared.data import digits

APPLICATION = Application("gradient_flow", Config, lambda config: digits.load())
