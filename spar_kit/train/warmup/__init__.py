"""The stages that a model without pretraining takes first."""
