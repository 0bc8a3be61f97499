"""What real data needs: refinements that have their turn between iterations, and steps that follow every new object."""
