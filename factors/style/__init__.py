"""Style scores and the descriptors they are made of."""
