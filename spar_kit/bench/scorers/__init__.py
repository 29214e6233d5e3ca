"""Three scorers: the official one, EASI's and the strict one."""
