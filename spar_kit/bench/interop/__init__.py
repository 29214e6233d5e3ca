"""Other toolkits: lmms-eval, VLMEvalKit, EASI, sheets."""
