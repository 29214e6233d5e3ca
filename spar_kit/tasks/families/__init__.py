"""The facts of the 35 tasks, one module a family."""
