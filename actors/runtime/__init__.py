"""What every actor stands on: its base class, its queue, its memory and its priority."""
