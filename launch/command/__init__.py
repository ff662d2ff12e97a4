"""The command `factor-engine`: one noun, one verb, made of the operation table."""
