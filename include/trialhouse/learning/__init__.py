"""How a network learns: data in memory, a recipe, and the engine that turns them into weights and a learning curve."""
