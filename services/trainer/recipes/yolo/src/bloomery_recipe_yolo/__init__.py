"""YOLO recipes on Ultralytics. Licence: AGPL-3.0-only, as Ultralytics' own; nothing else of Bloomery imports this."""
