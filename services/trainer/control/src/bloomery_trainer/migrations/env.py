"""Alembic's entry: the kit runs the migrations on the connection that it opened."""

from bloomery_kit.migrations import run_env

run_env()
