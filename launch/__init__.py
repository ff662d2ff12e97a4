"""What an operator starts: `make run` and the node command. Above `serve_app`; nothing imports it."""
