"""Alembic's entry into this folder."""

from bloomery_kit.migrations import run_env

run_env()
