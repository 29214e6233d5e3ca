"""Which of many candidates are asked, so that answers are balanced and nothing gives them away."""
from spar_kit.core.moved import forward

# this package has the old name of one of its modules
__getattr__ = forward("spar_kit.tasks.sampling", "candidates")
