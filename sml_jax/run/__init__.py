"""An experiment: base models, chats, stages, checkpoints, health, data order and records."""
