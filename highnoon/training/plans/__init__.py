"""What a run will do: stages, their data, the plan."""
