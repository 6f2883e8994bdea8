"""``make bench``: figures for README.md and docs/, printed as they are measured."""

from . import collector

collector.main()
