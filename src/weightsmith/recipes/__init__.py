"""The shipped recipes: one YAML file per experiment."""
